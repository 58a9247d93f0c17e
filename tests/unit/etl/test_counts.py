"""Every span of a transformation is counted once, whatever it was."""

import polars as pl
import pytest

from etl.calls.readings import Readings
from etl.counts import count
from etl.dialects.spans import AgentSpan, LlmCall, ToolCall
from etl.episodes.grouping import Episode
from etl.tables import Row
from tests.unit.etl.calls.made import ran, seen

TABLES = {
    "rewards": pl.DataFrame({"reason": ["used", "used", None]}),
    "transitions": pl.DataFrame({"evidence": ["full", "full"], "stop_reason": ["stop", "not_taken"]}),
    "llm_calls": pl.DataFrame({"span_id": ["s0", "s1"]}),
}


def counted(
    readings: Readings,
    calls: list[LlmCall],
    episode_of: list[int],
    keep: list[bool],
    rejected: list[Row] = (),  # type: ignore[assignment]
    wrappers: list[LlmCall] = (),  # type: ignore[assignment]
) -> dict[str, dict[str, int]]:
    episodes: list[Episode] = [None] * len(keep)  # type: ignore[list-item]
    num = len(episode_of) + sum(row["stage"] == "clean" for row in rejected)
    return count(num, list(rejected), readings, calls, list(wrappers), episodes, episode_of, keep, TABLES)


def test_a_span_counts_once_as_what_it_was() -> None:
    """The call, the other span of the same call, a wrapper, a tool and an agent; the rest is ordinary or unreadable."""
    call = seen(0, merged=[seen(1).span])
    agent: ToolCall = ran(3)
    readings = Readings(tools=[agent], agents={4: AgentSpan(seen(4).span, "genai")}, unreadable={5: "x: KeyError"})

    spans = counted(readings, [call], [0] * 7, [True], wrappers=[seen(2)])["spans"]

    used = {"agent": 1, "call_wrapper": 1, "llm_call": 1, "same_call_again": 1, "tool_call": 1}
    assert spans == {"in": 7, "used": used, "ignored": {"ordinary": 1, "unreadable": 1}, "waiting": 0, "rejected": {}}


def test_a_span_that_is_two_things_counts_as_the_later_kind_alone() -> None:
    """An agent that is called as a tool: counting it twice, the sum would be more than came in."""
    readings = Readings(tools=[ran(0)], agents={0: AgentSpan(seen(0).span, "genai")})

    assert counted(readings, [], [0], [True])["spans"]["used"] == {"agent": 1}


def test_an_episode_that_is_not_complete_has_all_its_spans_waiting() -> None:
    """Calls among them; what was rejected is no span of an episode's, and counted by its reason."""
    rejected = [{"stage": "clean", "reason": "no_time"}, {"stage": "transitions", "reason": "embedding"}]

    found = counted(Readings(), [seen(0), seen(1)], [0, 1, 1], [True, False], rejected)

    assert found["spans"] == {
        "in": 4,
        "used": {"llm_call": 1},
        "ignored": {},
        "waiting": 2,
        "rejected": {"no_time": 1},
    }
    assert found["calls"] == {"in": 2, "transitions": 1, "other_choices": 1, "rejected": {"embedding": 1}}
    assert found["evidence"] == {"full": 1}, "what was not taken is no evidence"
    assert [found["episodes"], found["episodes_waiting"]] == [1, 1]


def test_a_span_that_got_lost_is_noticed() -> None:
    """A report that does not add up is no report."""
    with pytest.raises(AssertionError):
        count(2, [], Readings(), [], [], [], [0], [True], TABLES)


def test_scopes_that_could_not_be_read_are_named_with_how_often() -> None:
    """By scope and kind of error."""
    readings = Readings(unreadable={0: "a: KeyError", 1: "a: KeyError", 2: "b: TypeError"})

    assert counted(readings, [], [0, 0, 0], [True])["unreadable_scopes"] == {"a: KeyError": 2, "b: TypeError": 1}
