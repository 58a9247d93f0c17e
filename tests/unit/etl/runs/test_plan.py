"""What a run is to read, before anything is read."""

from pathlib import Path
from typing import Any

from etl.runs.plan import Plan, make_plan
from etl.settings import EtlConfig
from otel_exporter.schema import EPISODE_ID
from receiver.schema import Reader
from tests.spans import llm
from tests.unit.etl.published.dataset import put, trace
from tests.unit.etl.runs.test_source import record, tables


def plan(data: Path, reader: Reader, **settings: Any) -> Plan:
    return make_plan(EtlConfig(data=data, **settings), reader, now_us=0)


def traces(found: Plan) -> set[tuple[str, str]]:
    return {trace for bucket in found.buckets for trace in bucket.traces}


def test_where_nothing_came_there_is_nothing_to_do(tmp_path: Path) -> None:
    """An empty store, before the first run and after one."""
    found = plan(tmp_path, tables())
    assert [found.is_new, found.processed, found.num_traces] == [False, 0, 0]

    put(tmp_path, 4, llm("a", trace="a", seq=4))
    found = plan(tmp_path, tables(llm("a", trace="a", seq=4)))
    assert [found.is_new, found.processed, found.num_traces, found.window.until_seq] == [False, 4, 0, 4]


def test_what_was_not_complete_is_looked_at_again(tmp_path: Path) -> None:
    """Though nothing came of it: it may be old enough now."""
    put(tmp_path, 4, llm("a", trace="a", seq=4), pending={trace("b")})

    found = plan(tmp_path, tables(llm("a", trace="a", seq=4), llm("b", trace="b", seq=4)))

    assert [found.is_new, found.pending, traces(found)] == [False, {trace("b")}, {trace("b")}]


def test_a_late_span_brings_its_published_episode(tmp_path: Path) -> None:
    """All of its traces, also those that nothing came of."""
    rows = [llm(name, trace=name, seq=4, attributes={EPISODE_ID: "e1"}) for name in ("a", "b")]
    put(tmp_path, 4, *rows)

    found = plan(tmp_path, tables(*rows, llm("late", trace="b", seq=6)))

    assert [found.is_new, found.window.since_seq, found.window.until_seq] == [True, 5, 6]
    assert traces(found) == {trace("a"), trace("b")}


def test_no_trace_is_lost_between_buckets(tmp_path: Path) -> None:
    """One that rewards alone are there of has no spans to divide by; it is read with the last."""
    rows = [llm(name, trace=name, seq=number) for number, name in enumerate("abc", 1)]
    reader = tables(*rows, logs=[record("lonely"), record(None)])

    whole, divided = plan(tmp_path, reader), plan(tmp_path, reader, bucket_spans=1)

    assert [len(whole.buckets), len(divided.buckets)] == [1, 3]
    assert traces(whole) == traces(divided) >= {trace("a"), trace("b"), trace("c"), trace("lonely")}
    assert whole.num_traces == divided.num_traces == 5
    assert divided.stand_ins == {("default", "response:")}
