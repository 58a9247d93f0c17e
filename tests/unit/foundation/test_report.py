"""The report of a run: one object, printed and kept."""

import json
from pathlib import Path

import pytest

from foundation.errors import ExitStatus
from foundation.report import RunReport


def test_phases_are_timed_also_when_they_fail(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With what they said until then; the file and the print are the same object but for its end."""
    report = RunReport("etl run", {"since": "2026-01-01"})

    def fail() -> None:
        with report.phase("read") as phase:
            phase["spans"] = 7
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    report.update(windows=1)

    report.write(tmp_path / "report.json", ExitStatus.REFUSED)
    report.print(ExitStatus.BUSY)

    kept, printed = json.loads((tmp_path / "report.json").read_bytes()), json.loads(capsys.readouterr().out)
    assert (kept["status"], printed["status"]) == ("refused", "busy")
    assert kept["phases"][0] | {"duration_s": 0, "cpu_s": 0} == {
        "name": "read",
        "spans": 7,
        "duration_s": 0,
        "cpu_s": 0,
    }
    assert (kept["run_id"], kept["command"], kept["windows"]) == (printed["run_id"], "etl run", 1)
