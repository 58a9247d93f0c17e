"""`spanloop store`: what it asks of the stages, and what it says."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from foundation.errors import SpanloopError
from foundation.store.opening import require_store
from spanloop.processes import stages_run_by
from spanloop.store import command
from tests.unit.spanloop.store.test_checkpoints import make


@pytest.fixture(autouse=True)
def _store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPANLOOP_STORE", f"file://{tmp_path}/store")


def printed(capsys: pytest.CaptureFixture[str]) -> Any:
    """Return the last object on stdout, where a test that configures no narration has that as well."""
    text = "\n" + capsys.readouterr().out
    return json.loads(text[text.rindex("\n{") :])


def test_each_stage_brings_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Days are the receiver's, tables the ETL's; a dry run commits nothing."""
    asked: list[Sequence[str]] = []

    def stage(arguments: Sequence[str]) -> dict[str, Any]:
        asked.append(list(arguments[:2]))
        return {"days": ["2026-03-01"], "rows": {"spans": 2}, "files": 6}

    make(tmp_path, "night")
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset" / "watermark.json").write_text("{}")
    with stages_run_by(stage):
        command.push(data=tmp_path, dry_run=True)
        assert asked == [["receiver", "push"]]
        assert [*require_store().names("")] == []
        command.push(data=tmp_path, as_json=True)

    assert asked[1:] == [["receiver", "push"], ["etl", "push"]]
    report = printed(capsys)
    assert [report[key] for key in ("days", "dataset_files", "checkpoints")] == [["2026-03-01"], 6, ["night"]]


def test_what_is_there_is_listed_and_fetched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line a pointer."""
    make(tmp_path, "night")
    with stages_run_by(lambda _: {"days": [], "rows": {}, "files": 0}):
        command.push(data=tmp_path)
        command.list_()
        listed = printed(capsys)
        command.pull(data=tmp_path / "other", checkpoint=("night",), tables=True, as_json=True)

    assert listed == {"what": "checkpoints", "key": "checkpoints/night.json", "files": 3, "bytes": 12}
    assert printed(capsys)["checkpoints"] == [str(tmp_path / "other" / "checkpoints" / "night")]


def test_damage_ends_with_status_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And names the file."""
    make(tmp_path, "night")
    with stages_run_by(lambda _: {"days": [], "rows": {}, "files": 0}):
        command.push(data=tmp_path)
    command.verify()
    require_store().remove("checkpoints/night/manifest.json")

    with pytest.raises(SpanloopError, match=r"night/manifest\.json is gone"):
        command.verify(as_json=True)

    assert len(printed(capsys)["faults"]) == 1


def test_days_are_pruned_by_age_and_shown_first(capsys: pytest.CaptureFixture[str]) -> None:
    """A dry run removes nothing."""
    store = require_store()
    store.put("days/2020-01-01/r1/spans/shop/0-1.parquet", b"old")

    command.prune(retain_days=365, dry_run=True)
    assert len([*store.names("days")]) == 1
    command.prune(retain_days=365)
    assert [*store.names("days")] == []
    assert capsys.readouterr().out == "2020-01-01\n" * 2
