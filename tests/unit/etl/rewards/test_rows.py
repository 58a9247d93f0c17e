"""Rewards as rows and back: what was given is kept, what was made of it is found anew."""

import pytest

from etl.dialects.spans import LlmCall, Span
from etl.episodes.grouping import Episode
from etl.rewards.given import Level, Reason, Reward
from etl.rewards.rows import IDENTITY, from_row, is_from_elsewhere, place_again, to_row
from etl.schema import TABLES


def reward(reason: Reason, **fields: object) -> Reward:
    given = {"trace_id": "t", "span_id": "s", "value": 1.0, "label": "good", "explanation": None, **fields}
    return Reward(project="p", name="outcome", source="log", time_ns=7, reason=reason, **given)  # type: ignore[arg-type]


def episode(*traces: str) -> Episode:
    return Episode(("p", "e"), traces=list(traces), session=None)


def call(span_id: str) -> LlmCall:
    return LlmCall(Span(0, "p", "t", span_id, None, "", 1, 2, None, None, "", None, {}), "genai")


def test_a_row_has_every_column_and_gives_the_reward_back() -> None:
    """With the names it was given under."""
    given = reward(Reason.OUTCOME, response_id="r", session_id="s1", links=[("other", "span")])

    row = to_row(given, None)
    back = from_row(row)

    assert row.keys() == TABLES["rewards"].keys()
    assert (back.response_id, back.session_id, back.links) == ("r", "s1", [("other", "span")])
    assert [getattr(back, name) for name in IDENTITY] == [getattr(given, name) for name in IDENTITY]


@pytest.mark.parametrize("reason", list(Reason))
def test_a_reason_stays_where_nothing_changes_it_any_more(reason: Reason) -> None:
    """Else it is found anew; a value that is no number is not published as one."""
    row = to_row(reward(reason, value=float("nan") if reason == Reason.NOT_FINITE else 1.0), None)
    unchanging = {Reason.SIGNAL, Reason.NOBODY_ACTED, Reason.NO_SCORE, Reason.NOT_FINITE}

    assert from_row(row).reason == (reason if reason in unchanging else None)
    assert (row["value"] is None) == (reason == Reason.NOT_FINITE)
    assert row["used"] == (reason in {Reason.OUTCOME, Reason.STEP})


def test_a_reward_from_another_trace_says_which_one_it_judges() -> None:
    """Also one that stands in no trace at all."""
    within = reward(Reason.STEP, episode=0, level=Level.CALL, calls=[call("c")])

    assert to_row(within, episode("t", "u"))["judged_trace_id"] is None
    assert to_row(within, episode("u"))["judged_trace_id"] == "u"
    assert to_row(within, episode("t"))["judged_span_id"] == "c"
    assert not is_from_elsewhere(to_row(within, episode("t")))
    assert is_from_elsewhere(to_row(within, episode("u")))
    assert is_from_elsewhere(to_row(reward(Reason.STEP, trace_id="response:r", episode=0), episode("response:r")))


def test_a_reward_goes_back_to_the_call_it_judged() -> None:
    """To the episode alone where that call is no more."""
    row = to_row(reward(Reason.STEP, episode=0, level=Level.CALL, calls=[call("c")]), episode("t"))

    for calls, found in (({"c": call("c")}, ["c"]), ({}, [])):
        back = from_row(row)
        place_again(back, row, 3, calls)
        assert (back.episode, back.level, [each.span.span_id for each in back.calls]) == (3, Level.CALL, found)
