"""Which traces a window of receipt touches, what they may share with others, and that they are read whole."""

from datetime import UTC, datetime
from typing import Any, cast

import duckdb
import pytest

from etl.published.window import Window
from etl.runs.source import EVERYTHING, find_window, read_traces, touched_traces, trace_facts, with_links
from otel_exporter.schema import EPISODE_ID
from receiver.schema import Reader
from tests.spans import (
    START_NS,
    Span,
    evaluation,
    gateway,
    identifier,
    llm,
    logs_frame,
    reward_record,
    span,
    spans_frame,
)


class Tables:
    """The receiver's tables in memory."""

    def __init__(self, spans: list[Span], logs: list[dict[str, Any]]) -> None:
        self.database = duckdb.connect()
        for name, frame in (("spans", spans_frame(spans)), ("log_records", logs_frame(logs))):
            self.database.register("frame", frame.to_arrow())
            self.database.execute(f"create table {name} as select * from frame")

    def query(self, sql: str, parameters: list[Any]) -> Any:
        return self.database.sql(sql, params=parameters).to_arrow_table()


def tables(*spans: Span, logs: list[dict[str, Any]] | None = None) -> Reader:
    return cast("Reader", Tables(list(spans), logs or []))


def trace(name: str) -> tuple[str, str]:
    return "default", identifier(name, 32)


def record(trace_: str | None, **fields: Any) -> dict[str, Any]:
    return {**reward_record(1.0, trace=trace_ or "x"), **({} if trace_ else {"trace_id": None}), **fields}


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(START_NS // 10**9 + seconds, UTC)


@pytest.fixture(scope="module")
def three() -> Reader:
    return tables(*(span(str(n), trace=str(n), seq=n, received=float(n)) for n in (3, 5, 9)))


def test_a_window_goes_from_the_watermark_to_the_last_that_came(three: Reader) -> None:
    """None where nothing came since."""
    assert find_window(three, after_seq=3, since=None, until=None) == Window(4, 9)
    assert find_window(three, after_seq=9, since=None, until=None) is None


def test_a_window_by_time_holds_its_beginning_and_not_its_end(three: Reader) -> None:
    """Whatever was processed before; an instant without a zone is UTC."""
    assert find_window(three, after_seq=100, since=at(3), until=at(9)) == Window(3, 5)
    assert find_window(three, after_seq=0, since=at(5).replace(tzinfo=None), until=None) == Window(5, 9)
    assert find_window(three, after_seq=0, since=at(10), until=None) is None


def test_records_count_as_receipt_too() -> None:
    """A reward alone is something new."""
    reader = tables(span("a", seq=1), logs=[record("t", received_seq=7, received_time=None)])

    assert find_window(reader, after_seq=1, since=None, until=None) == Window(2, 7)


def test_a_trace_is_touched_by_a_span_a_reward_or_a_message() -> None:
    """Other records touch nothing; a reward that names no trace touches its stand-in."""
    other = {"event_name": "app.log", "attributes": "{}"}
    reader = tables(
        span("a", trace="a", seq=2),
        span("old", trace="old", seq=1),
        logs=[
            record("b", received_seq=2),
            record("c", received_seq=2, **other),
            record("d", received_seq=3, **other | {"body": '{"messages": []}'}),
            record(None, received_seq=3, attributes='{"gen_ai.response.id": "r1"}'),
            record("late", received_seq=4),
        ],
    )

    assert touched_traces(reader, Window(2, 3)) == {trace("a"), trace("b"), trace("d"), ("default", "response:r1")}


def test_facts_are_of_whole_traces_in_the_order_of_receipt() -> None:
    """Records weigh as well; stand-ins come last and widen nothing."""
    reader = tables(
        span("b", trace="b", seq=5, start=2, end=7),
        gateway("a", trace="a", seq=2),
        span("b2", trace="b", seq=3, start=1),
        span("not asked for", trace="c", seq=1),
        logs=[record("b", body="x" * 1000)],
    )

    found = trace_facts(reader, {trace("a"), trace("b"), ("default", "response:r1")})

    assert [fact.trace for fact in found] == [trace("a"), trace("b"), ("default", "response:r1")]
    assert [(fact.num_spans, fact.first_seq, fact.last_seq, fact.is_gateway) for fact in found] == [
        (1, 2, 2, True),
        (2, 3, 5, False),
        (0, EVERYTHING, 0, False),
    ]
    assert (found[1].start_ns, found[1].end_ns) == (START_NS + 10**9, START_NS + 7 * 10**9)
    assert found[1].num_bytes > 1000
    assert found[2].links == ("r1",)


def links(reader: Reader, *names: str) -> dict[str, tuple[str, ...]]:
    found = with_links(reader, trace_facts(reader, {trace(name) for name in names}))
    return {name: fact.links for name in names for fact in found if fact.trace == trace(name)}


def test_traces_of_one_episode_or_session_share_an_id() -> None:
    """From a span, a record or a resource; an empty one is none."""
    reader = tables(
        span("a", trace="a", attributes={EPISODE_ID: "e1"}),
        span("b", trace="b", resource={"spanloop.episode.id": "e1"}),
        span("c", trace="c", attributes={"session.id": ""}),
        span("d", trace="d"),
        logs=[record("d", attributes='{"session.id": "s1"}')],
    )

    assert links(reader, "a", "b", "c", "d") == {"a": ("e1",), "b": ("e1",), "c": (), "d": ("s1",)}


def test_answers_are_links_only_where_something_may_judge_or_repeat_them() -> None:
    """Reading every text for ids is dear: done where a gateway's trace, or a judgement elsewhere, is among them."""
    call = llm("call", trace="a", response_id="chatcmpl-1234")
    judge = span("judge", trace="b", attributes={"gen_ai.evaluation.name": "x", "gen_ai.response.id": "chatcmpl-1234"})

    assert links(tables(call, span("b", trace="b")), "a", "b") == {"a": (), "b": ()}
    assert links(tables(call, judge), "a", "b") == {"a": ("chatcmpl-1234",), "b": ("chatcmpl-1234",)}
    with_gateway = links(tables(call, gateway("g", trace="g", response_id="chatcmpl-1234")), "a", "g")
    assert with_gateway == {"a": ("chatcmpl-1234",), "g": ("chatcmpl-1234",)}


def test_a_judging_span_is_linked_to_the_traces_it_points_at() -> None:
    """Other links between traces join nothing."""
    pointed = f'[{{"trace_id": "{identifier("a", 32)}"}}]'
    judge = {**span("judge", trace="b", events=[evaluation(1.0)]), "links": pointed}
    plain = {**span("plain", trace="c"), "links": pointed}
    evaluator = {**span("e", trace="e", attributes={"gen_ai.operation.name": "evaluate"}), "links": pointed}

    found = links(tables(span("a", trace="a"), judge, plain, evaluator), "a", "b", "c", "e")

    pointed_at = (identifier("a", 32),)
    assert found == {"a": (), "b": pointed_at, "c": (), "e": pointed_at}


@pytest.mark.parametrize(
    "name", ["gen_ai.request.previous_response.id", "gen_ai.openai.request.previous_response_id", "previousResponseId"]
)
def test_a_request_is_linked_to_the_response_it_continues(name: str) -> None:
    """Under the conventions' name and those of the API's clients."""
    continuing = span("b", trace="b", attributes={name: "resp_1"})

    assert links(tables(span("a", trace="a"), continuing), "a", "b") == {"a": (), "b": ("resp_1",)}


def test_traces_are_read_whole_and_stand_ins_as_their_rewards() -> None:
    """Whenever their parts came; where the requests that hold their spans are known, those alone are looked at."""
    reader = tables(
        span("a1", trace="a", seq=1),
        span("a2", trace="a", seq=9),
        span("b", trace="b", seq=5),
        logs=[record("a", received_seq=99), record(None, attributes='{"gen_ai.response.id": "r1"}'), record("b")],
    )
    wanted = {trace("a"), ("default", "response:r1")}

    spans, logs = read_traces(reader, wanted)
    bounded, all_logs = read_traces(reader, wanted, (1, 5))

    assert sorted(spans["name"]) == ["a1", "a2"]
    assert sorted(logs["trace_id"]) == sorted(name for _, name in wanted)
    assert bounded["name"].to_list() == ["a1"]
    assert all_logs.height == logs.height
    assert read_traces(reader, set())[0].is_empty()
