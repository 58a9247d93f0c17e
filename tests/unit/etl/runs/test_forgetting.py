"""Whole episodes leave what is published, and what is left of them is computed anew."""

from pathlib import Path

import polars as pl
import pytest

from etl.published.publish import load_watermark
from etl.runs.forgetting import DAY_NS, forget, prune
from etl.schema import read_watermark, table_files
from otel_exporter.schema import EPISODE_ID
from tests.spans import START_NS, llm
from tests.unit.etl.published.dataset import put, trace


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Publish an episode of two traces, and one three days later."""
    put(tmp_path, 3, *(llm(name, trace=name, seq=3, attributes={EPISODE_ID: "e1"}) for name in ("a", "b")))
    put(tmp_path, 5, llm("c", trace="c", seq=5, start=3 * 86_400), pending={trace("waiting")})
    return tmp_path


def episodes(data: Path) -> list[list[str]]:
    files = table_files(data, "episodes")
    return pl.read_parquet(files)["trace_ids"].to_list() if files else []


def test_an_episode_goes_whole_and_its_other_traces_are_to_be_computed_anew(data: Path) -> None:
    """The forgotten one is not; what waited waits, and nothing counts as processed that was not."""
    counts = forget(data, [trace("a")])

    assert [counts["episodes"], counts["transitions"]] == [1, 2]
    assert episodes(data) == [[trace("c")[1]]]
    watermark = load_watermark(data)
    assert {tuple(one) for one in watermark["pending"]} == {trace("b"), trace("waiting")}
    assert watermark["received_seq"] == 5


def test_a_dry_run_counts_the_same_and_changes_nothing(data: Path) -> None:
    """Down to the watermark."""
    before = read_watermark(data)

    assert forget(data, [trace("a")], dry_run=True)["transitions"] == 2

    assert read_watermark(data) == before


def test_what_is_nowhere_is_not_waited_for(data: Path) -> None:
    """A trace that was never published, or that still waits and is forgotten meanwhile."""
    counts = forget(data, [trace("never"), trace("waiting")])

    assert [counts.total(), load_watermark(data)["pending"]] == [0, []]
    assert len(episodes(data)) == 2


def test_old_episodes_go_by_when_they_ended(data: Path) -> None:
    """Not by when they came; at the very limit one is kept."""
    end_ns = START_NS + 10**9

    assert prune(data, retain_days=2, now_ns=end_ns + 2 * DAY_NS)["episodes"] == 0
    assert prune(data, retain_days=2, now_ns=end_ns + 2 * DAY_NS + 1)["episodes"] == 1
    assert episodes(data) == [[trace("c")[1]]]


def test_where_nothing_is_published_nothing_is_forgotten(tmp_path: Path) -> None:
    """By trace or by age."""
    assert forget(tmp_path, [trace("a")]).total() == 0
    assert prune(tmp_path, retain_days=1).total() == 0
