"""What is published outlives its spans: retention removes days, and nothing that was made of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from etl.exports.export import read_table
from etl.runs.run import run_etl
from etl.schema import TABLES
from etl.settings import EtlConfig
from foundation.report import RunReport
from tests.integration.etl.test_stand_ins import record
from tests.integration.etl.test_windows import Store
from tests.spans import START_NS, Span, evaluation, identifier, llm, reward_record, span, tool

pytestmark = pytest.mark.integration

TALK = {"gen_ai.conversation.id": "talk"}


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    """Return the store that `connect` opens."""
    made = Store()
    monkeypatch.setattr("etl.runs.run.open_receivers", lambda _: made)
    return made


Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run the ETL and return the report."""

    def run_once(**settings: Any) -> dict[str, Any]:
        report = RunReport("etl run", {})
        config = EtlConfig(data=tmp_path, complete_after=0, **settings)
        run_etl(config, report, dry_run=False, now_us=lambda: START_NS // 1000)
        return report.as_dict()

    return run_once


def attempt(name: str, *, seq: int, events: list[dict[str, Any]] | None = None) -> list[Span]:
    """Return an episode of two calls, the first of which asked for a tool that failed."""
    common: dict[str, Any] = {"trace": name, "seq": seq, "parent": f"{name} root"}
    return [
        span(f"{name} root", trace=name, end=9, seq=seq, events=events or []),
        llm(f"{name} 1", start=1, end=2, calls=[(name, "look", {})], response_id=f"{name}-1", **common),
        tool(f"{name} t", tool_name="look", call_id=name, start=3, end=4, status="error", **common),
        llm(f"{name} 2", start=5, end=6, response_id=f"{name}-2", **common),
    ]


def published(data: Path) -> dict[str, pl.DataFrame]:
    """Return the published tables."""
    return {table: read_table(data, table) for table in TABLES}


@pytest.mark.parametrize(
    "given",
    [
        reward_record(1.0, trace="a", seq=5),
        {**reward_record(1.0, trace="a", span_name="a root", seq=5)},
        {**reward_record(1.0, trace="a", span_name="a 2", seq=5)},
        record("a-2", 1.0, seq=5, name="outcome"),
    ],
    ids=["of the trace", "of the root", "of a call", "of an answer"],
)
def test_a_late_reward_changes_rows_and_removes_none(
    tmp_path: Path, store: Store, run: Run, given: dict[str, Any]
) -> None:
    """As if the spans were still there."""
    store.spans = [*attempt("a", seq=1), *attempt("b", seq=2)]
    store.logs = [reward_record(0.25, name="style", trace="a", seq=3)]
    run()
    store.logs.append(given)
    with_spans = tmp_path / "with spans"
    config = EtlConfig(data=with_spans, complete_after=0)
    run_etl(config, RunReport("etl run", {}), dry_run=False, now_us=lambda: START_NS // 1000)

    store.spans = [one for one in store.spans if one["received_seq"] > 3]
    store.logs = [one for one in store.logs if one["received_seq"] > 3]
    report = run()

    assert report["episodes_outlived"] == 1
    expected = published(with_spans)
    assert expected["transitions"]["outcome"].to_list().count(1.0) == 2
    for table, rows in published(tmp_path).items():
        assert_frame_equal(rows, expected[table])


def test_a_reward_that_corrects_an_earlier_one(tmp_path: Path, store: Store, run: Run) -> None:
    """The earlier one stood on a span, or in a record, that is gone; it is kept, superseded."""
    store.spans = attempt("a", seq=1, events=[evaluation(0.0)])
    store.logs = [reward_record(0.5, trace="a", seq=2)]
    run()
    late = {**reward_record(1.0, trace="a", seq=5), "time_ns": START_NS * 2}
    store.spans, store.logs = [], [late]
    run()
    run(since=None)

    found = read_table(tmp_path, "rewards").select("value", "reason").sort("value").rows()
    assert found == [(0.0, "superseded"), (0.5, "superseded"), (1.0, "outcome")]
    transitions = read_table(tmp_path, "transitions")
    assert transitions["outcome"].to_list() == [1.0, 1.0]
    assert transitions["return_"].to_list() == [pytest.approx(0.9), 1.0]


def test_a_record_that_is_gone_counts_while_the_spans_are_there(tmp_path: Path, store: Store, run: Run) -> None:
    """A reward may be older than what it judges, and a late span makes the episode anew."""
    store.logs = [reward_record(1.0, trace="a", seq=1)]
    store.spans = attempt("a", seq=2)
    run()
    store.logs = []
    store.spans.append(span("late", trace="a", parent="a root", seq=3))
    run()

    assert read_table(tmp_path, "episodes").select("num_spans", "outcome").rows() == [(5, 1.0)]


def test_a_later_trace_of_an_old_conversation(tmp_path: Path, store: Store, run: Run) -> None:
    """What was published of the earlier turns stays, to the byte."""
    store.spans = [llm("a", trace="1", attributes=TALK, seq=1), llm("b", trace="2", attributes=TALK, start=5, seq=2)]
    run()
    before = read_table(tmp_path, "transitions")
    store.spans = [llm("c", trace="3", attributes=TALK, start=9, seq=3)]
    run()

    after = read_table(tmp_path, "transitions").filter(pl.col("span_id") != identifier("c", 16))
    assert_frame_equal(after, before)
    assert read_table(tmp_path, "episodes").height == 3


@pytest.mark.parametrize("left", [1, 3])
def test_spans_that_are_gone_in_part(tmp_path: Path, store: Store, run: Run, left: int) -> None:
    """However many late ones came since: the rows that were made of the whole stay."""
    store.spans = attempt("a", seq=1)
    store.spans[-1]["received_seq"] = 2
    run()
    before = published(tmp_path)
    late = [span(f"late {n}", trace="a", parent="a root", seq=3) for n in range(left)]
    store.spans = [*(one for one in store.spans if one["received_seq"] > 1), *late]
    run()

    after = published(tmp_path)
    for table in ("llm_calls", "tool_calls", "transitions", "episodes"):
        assert_frame_equal(after[table], before[table])


def test_the_score_of_a_session_reaches_turns_that_are_gone(tmp_path: Path, store: Store, run: Run) -> None:
    """And those that are there, alike."""
    store.spans = [llm("a", trace="1", attributes=TALK, seq=1)]
    run()
    store.spans = [llm("b", trace="2", attributes=TALK, start=5, seq=2)]
    fields = '{"gen_ai.evaluation.name": "outcome", "gen_ai.evaluation.score.value": 1.0, "session.id": "talk"}'
    store.logs = [{**reward_record(1.0, seq=3), "trace_id": None, "attributes": fields}]
    run()

    assert read_table(tmp_path, "transitions")["outcome"].to_list() == [1.0, 1.0]


def test_a_late_span_of_a_published_episode_that_opens_it_again(tmp_path: Path, store: Store, run: Run) -> None:
    """Its rows are replaced by something, though another span is missing now and may still come."""
    store.spans = attempt("a", seq=1)
    run()
    store.spans.append(llm("late", trace="a", parent="not yet there", start=7, seq=2))
    report = RunReport("etl run", {})
    config = EtlConfig(data=tmp_path, complete_after=900)
    run_etl(config, report, dry_run=False, now_us=lambda: START_NS // 1000)

    assert read_table(tmp_path, "transitions").height == 3
