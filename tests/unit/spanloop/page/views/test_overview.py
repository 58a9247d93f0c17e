"""The first page: what arrives, and what is no visitor's to see."""

import json
from pathlib import Path

import pytest

from foundation.web.keys import Scope
from spanloop.page.entrance import Visitor
from spanloop.page.views import overview
from spanloop.page.views.overview import read_metrics, show
from spanloop.processes import StageFailed
from tests.unit.spanloop.page.visiting import Tables, see


def test_counts_of_several_transports_are_one() -> None:
    """Large ones are written in powers of ten; what is no counter is left out."""
    text = '# TYPE a counter\na_total{t="x"} 2\na_total{t="y"} 1e3\nb 0.5\nc NaN\n'

    assert read_metrics(text) == {"a_total": 1002.0, "b": 0.5}


def test_a_project_sees_no_night(tmp_path: Path) -> None:
    """An admin does."""
    (tmp_path / "nightly" / "runs").mkdir(parents=True)
    night = {"run_id": "night0", "status": "done", "started_time": "2026-01-01T02:00:00+00:00"}
    (tmp_path / "nightly" / "runs" / "night0.json").write_text(json.dumps(night))
    shop = Visitor("shop", "shop", frozenset({Scope.QUERY}))

    assert "2026-01-01" in see(show, "/", data=tmp_path, tables=Tables()).text
    assert "2026-01-01" not in see(show, "/", data=tmp_path, tables=Tables(), visitor=shop).text


def test_a_check_that_fails_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And runs where it was asked for by somebody who may see its findings."""
    asked: list[object] = []

    def fail(command: list[str], **_: object) -> None:
        asked.append(command)
        raise StageFailed(command, 1, ["the disk is full"])

    monkeypatch.setattr(overview, "run_program", fail)
    shop = Visitor("shop", "shop", frozenset({Scope.QUERY}))

    see(show, "/", data=tmp_path)
    see(show, "/?check=1", data=tmp_path, visitor=shop)
    assert asked == []
    assert "the disk is full" in see(show, "/?check=1", data=tmp_path).text
