"""What an import says at its end: every row, as what became of it."""

import json
from pathlib import Path

import pytest

from receiver.history.command import import_
from tests.history import write_lines
from tests.unit.receiver.history.test_langfuse import OBSERVATIONS, SCORES

UNTIMED = {**OBSERVATIONS[0], "id": "x", "startTime": None, "start_time": None}


def imported(data: Path, capsys: pytest.CaptureFixture[str], *, as_json: bool) -> str:
    path = write_lines(data.parent / "rows.jsonl", [*OBSERVATIONS, *SCORES, UNTIMED])
    import_("langfuse", path, data=data, json=as_json)
    return capsys.readouterr().out


def test_every_row_is_said_to_be_imported_or_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With its reason; the numbers stand under each other, and agree with the report's."""
    lines = imported(tmp_path / "a", capsys, as_json=False).splitlines()
    printed = imported(tmp_path / "b", capsys, as_json=True)
    report = json.loads(printed[printed.index("{") :])

    said = {line[12:]: int(line[:10]) for line in lines if line[:10].strip().isdigit()}
    refused = {what: count for what, count in said.items() if what.startswith("refused: ")}
    assert said["rows"] == len(OBSERVATIONS) + len(SCORES) + 1 == said["imported"] + sum(refused.values())
    assert {f"refused: {reason}": count for reason, count in report["refused"].items()} == refused != {}
    assert {name: report[name] for name in ("rows", "imported", "spans", "scores")}.items() <= said.items()
