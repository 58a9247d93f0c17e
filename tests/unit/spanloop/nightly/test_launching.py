"""A launcher's own status and output tell nothing: the report that the training left does."""

import json
import sys
from pathlib import Path

import pytest

from foundation.errors import ExitStatus, SettingsError, SpanloopError
from spanloop.nightly.launching import launch
from spanloop.processes import StageFailed


def launcher(directory: Path, report: dict[str, object] | None, status: int) -> str:
    """Return the line of a launcher that writes, leaves a report where it was asked to, and ends with a status."""
    script = directory / "launcher.py"
    script.write_text(
        "import pathlib, sys\nprint('[rank0] hello')\n"
        + (
            ""
            if report is None
            else f"pathlib.Path(sys.argv[sys.argv.index('--report-file') + 1]).write_text({json.dumps(report)!r})\n"
        )
        + f"sys.exit({status})\n"
    )
    return f"'{sys.executable}' '{script}'"


def test_the_report_is_the_answer_whatever_else_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What launchers print is for people, and one of an earlier night counts for nothing."""
    report = tmp_path / "train.json"
    report.write_text('{"status": "done", "checkpoint": "old"}')
    line = launcher(tmp_path, {"status": "done", "checkpoint": "c"}, 0)

    assert launch(line, ["train", "run"], report)["checkpoint"] == "c"
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "[rank0] hello\n")


def test_what_the_training_meant_is_passed_on(tmp_path: Path) -> None:
    """A launcher such as torchrun ends with 1 whatever its workers ended with."""
    line = launcher(tmp_path, {"status": "refused", "error": {"message": "no update was made"}}, 1)

    with pytest.raises(StageFailed) as failed:
        launch(line, ["train", "run"], tmp_path / "train.json")
    assert failed.value.exit_status is ExitStatus.REFUSED
    assert "no update was made" in failed.value.said


def test_a_launcher_that_fails_before_it_starts_anything(tmp_path: Path) -> None:
    """Its status, and the last it said."""
    with pytest.raises(StageFailed) as failed:
        launch(launcher(tmp_path, None, 75), ["train", "run"], tmp_path / "train.json")
    assert failed.value.exit_status is ExitStatus.BUSY
    assert failed.value.said == "[rank0] hello"


def test_one_that_only_submits_is_told_apart(tmp_path: Path) -> None:
    """Status 0 and no report: a checkpoint would be looked for in vain."""
    with pytest.raises(SpanloopError, match="no report of the training"):
        launch(launcher(tmp_path, None, 0), ["train", "run"], tmp_path / "train.json")


def test_a_launcher_that_is_not_there_is_a_setting_to_mend(tmp_path: Path) -> None:
    """With its name."""
    with pytest.raises(SettingsError, match="no-such-launcher cannot be started"):
        launch("no-such-launcher --x", ["train", "run"], tmp_path / "train.json")
