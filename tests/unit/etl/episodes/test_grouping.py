"""Which spans are one attempt at one task, and when it is over."""

import json
from typing import Any

from etl.settings import EtlConfig
from etl.tables import Dataset
from etl.transform import transform
from otel_exporter import schema as names
from tests.spans import START_NS, Span, gateway, identifier, llm, logs_frame, span, spans_frame

NOW_US = START_NS // 1000 + 60_000_000
"""One minute after the spans were received."""


def run(*spans: Span, complete_after: float = 900.0, now_us: int | None = NOW_US) -> Dataset:
    """Run the ETL over spans, a minute after they came."""
    return transform(spans_frame(spans), logs_frame(), EtlConfig(complete_after=complete_after), now_us=now_us)


def test_a_trace_is_an_episode() -> None:
    """Where nobody says otherwise."""
    dataset = run(llm("a", trace="1"), llm("b", trace="2"))

    assert sorted(dataset.tables["episodes"]["episode_id"]) == sorted([identifier("1", 32), identifier("2", 32)])


TALK = {"gen_ai.conversation.id": "talk"}


def test_a_conversation_joins_no_episodes() -> None:
    """Its turns are attempts of their own; what they share is said beside them."""
    dataset = run(llm("a", trace="1", attributes=TALK), llm("b", trace="2", start=3, attributes=TALK))

    assert dataset.tables["episodes"].select("session_id", "num_transitions").rows() == [("talk", 1), ("talk", 1)]
    assert dataset.tables["transitions"]["session_id"].to_list() == ["talk", "talk"]
    assert dataset.tables["episodes"]["episode_id"].is_in([identifier("1", 32), identifier("2", 32)]).all()


def results(*call_ids: str) -> dict[str, Any]:
    """Return attributes of a request in a conversation that ends in the results of these tool calls."""
    asked = [{"type": "tool_call", "id": call_id, "name": "look", "arguments": {}} for call_id in call_ids]
    given = [{"type": "tool_call_response", "id": call_id, "response": "seen"} for call_id in call_ids]
    turns = [
        {"role": "user", "parts": [{"type": "text", "content": "hi"}]},
        {"role": "assistant", "parts": asked},
        {"role": "tool", "parts": given},
    ]
    return {**TALK, "gen_ai.input.messages": json.dumps(turns)}


def test_a_trace_that_goes_on_with_an_earlier_one_is_the_same_attempt() -> None:
    """Bare clients make a trace a call; the loop that runs the tools is not instrumented."""
    dataset = run(
        llm("a", trace="1", attributes=TALK, said=None, calls=[("c1", "look", {})]),
        llm("b", trace="2", start=3, attributes=results("c1"), said=None, calls=[("c2", "look", {})]),
        llm("c", trace="3", start=5, attributes=results("c2")),
        llm(
            "next turn",
            trace="4",
            start=9,
            asked=[("user", "hi"), ("assistant", "hello"), ("user", "and?")],
            attributes=TALK,
        ),
    )

    found = dataset.tables["episodes"].select("episode_id", "num_transitions").rows()
    assert sorted(found) == sorted([(identifier("1", 32), 3), (identifier("4", 32), 1)])


def test_nothing_outside_a_conversation_goes_on_with_it() -> None:
    """Servers number their tool calls alike: an id alone says nothing of another session, or of what came later."""
    other = {**results("c1"), "gen_ai.conversation.id": "other"}
    dataset = run(
        llm("early", trace="0", start=-5, attributes=results("c1")),
        llm("a", trace="1", attributes=TALK, said=None, calls=[("c1", "look", {})]),
        llm("b", trace="2", start=3, attributes=other),
    )

    assert dataset.tables["episodes"]["num_transitions"].to_list() == [1, 1, 1]


def test_a_user_who_is_named_once_is_the_user_of_the_session() -> None:
    """A session joins users."""
    dataset = run(
        llm("a", trace="1", attributes={**TALK, "user.id": "u1"}), llm("b", trace="2", start=3, attributes=TALK)
    )

    assert dataset.tables["transitions"]["user_id"].to_list() == ["u1", "u1"]


def test_an_explicit_episode_wins_over_the_conversation() -> None:
    """What the agent says goes."""
    both = {"gen_ai.conversation.id": "talk", names.EPISODE_ID: "attempt-7"}
    dataset = run(llm("a", attributes=both))

    assert dataset.tables["episodes"]["episode_id"].to_list() == ["attempt-7"]


def test_an_episode_can_be_part_of_a_trace() -> None:
    """A batch job that runs many attempts in one trace: each claims its subtree."""
    dataset = run(
        span("job", end=9),
        span("one", parent="job", end=4, attributes={names.EPISODE_ID: "1"}),
        span("two", parent="job", start=4, end=8, attributes={names.EPISODE_ID: "2"}),
        llm("a", parent="one", start=1),
        llm("b", parent="two", start=5),
    )

    found = dict(dataset.tables["transitions"].select("span_id", "episode_id").iter_rows())
    assert found == {identifier("a", 16): "1", identifier("b", 16): "2"}
    assert dataset.tables["episodes"]["num_spans"].sum() == 5


def test_a_trace_whose_parent_is_missing_waits() -> None:
    """An open parent may still come; nothing of the trace is published yet."""
    dataset = run(llm("b", parent="never-arrived"))

    assert dataset.tables["episodes"].height == 0
    assert dataset.pending == [("default", identifier("t", 32))]
    assert dataset.counts["spans"]["waiting"] == 1


def test_an_orphan_becomes_a_root_once_its_trace_is_idle() -> None:
    """A span whose parent never arrived still yields a transition, marked incomplete."""
    dataset = run(llm("b", parent="never-arrived"), complete_after=30)

    assert dataset.tables["episodes"]["is_complete"].to_list() == [False]
    assert dataset.tables["transitions"]["stop_reason"].to_list() == ["incomplete"]


def test_the_gateways_spans_alone_wait_for_their_agent() -> None:
    """They are part of somebody's episode, whose spans come by another exporter."""
    dataset = run(gateway("gate"))

    assert dataset.tables["episodes"].height == 0
    assert dataset.counts["episodes_waiting"] == 1


def test_a_late_span_makes_a_later_revision() -> None:
    """The revision is the last request that told of the episode."""
    early = span("root", end=9, seq=3), llm("a", parent="root", start=1, seq=2)
    first = run(*early)
    second = run(*early, llm("late", parent="root", start=3, seq=7))

    assert first.tables["episodes"]["revision"].to_list() == [3]
    assert second.tables["episodes"]["revision"].to_list() == [7]
    assert second.tables["transitions"]["revision"].to_list() == [7, 7]
