"""Which calls are worth imitating, and why the others are not."""

import json
from collections.abc import Iterable
from typing import Any

import pytest

from foundation.errors import GateRefused, SettingsError
from tests.logged import frame
from tests.unit.train.distill.lessons import call, calling
from train.distill.choosing import Choice, choose


def chosen(rows: Iterable[dict[str, Any]], **settings: Any) -> Choice:
    return choose(frame(rows), **settings)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (call("a", "1", agent="other"), "other_agent"),
        (call("a", None), "no_content"),
        (call("a", "1", observation=None), "no_content"),
        (call("a", "1", action=None), "no_content"),
        (call("a", "1", media="[1]"), "media"),
        (call("a", "1", finish_reason="length"), "cut_short"),
        (call("a", "1", stop_reason="error"), "cut_short"),
        (call("a", None, said={"refusal": "no"}), "refused"),
        (call("a", "I'm sorry, I can't help with that."), "refused"),
        (call("a", "Write to <EMAIL_4821>."), "masked"),
        (call("a", "__REDACTED__"), "masked"),
        (calling("a", "subtract", {"a": 1}), "malformed"),
        (calling("a", "add", {"a": "one"}), "malformed"),
        (calling("a", "add", '{"a": '), "malformed"),
        (call("a", "1", outcome=0.4), "not_good"),
        (call("a", "1", outcome=None), "no_outcome"),
        (call("a", "1", outcome=float("nan")), "no_outcome"),
    ],
)
def test_what_is_left_out_says_why(row: dict[str, Any], reason: str) -> None:
    """Each reason for itself; a good call beside it is taken."""
    found = chosen([row, call("good", "yes")], agents=("agent",))

    assert found.left == {reason: 1}
    assert found.rows["task_id"].to_list() == ["good"]


def test_what_is_good_is_taken() -> None:
    """Words, a tool call that fits, an apology that is no refusal."""
    rows = [call("a", "Sorry, that is 3."), calling("b", "add", {"a": 1}), call("c", "1", outcome=0.5)]

    assert chosen(rows[1:]).left == {}
    assert chosen(rows[1:]).by == "outcomes"


def test_the_same_is_taken_once() -> None:
    """But for case, spaces and punctuation; another answer to the same question is another lesson."""
    rows = [
        call("a", "It is 3."),
        call("a", "it  is 3", number=1, question="What is A"),
        call("a", "Three", number=2),
    ]

    found = chosen(rows)

    assert found.left == {"duplicate": 1}
    assert found.rows["span_id"].to_list() == ["a-0", "a-2"]


def test_a_date_in_the_system_message_makes_no_other_lesson() -> None:
    """The same agent asked the same, on two days."""
    days = [
        json.dumps([{"role": "system", "text": f"Today is {day}."}, {"role": "user", "text": "2 + 2?"}])
        for day in ("Monday", "Tuesday")
    ]
    rows = [call(f"t{number}", "4", observation=text) for number, text in enumerate(days)]

    assert chosen(rows).left == {"duplicate": 1}


def test_a_task_is_taken_so_often_the_best_first() -> None:
    """Then the earliest; an episode's calls stay together."""
    rows = [
        call("a", f"answer {number}", number=number, outcome=outcome) for number, outcome in enumerate((0.6, 1, 0.9))
    ]
    rows.append(call("a", "and more", number=1, span_id="second", step=1, outcome=1.0))
    rows.append(call("b", "other"))

    found = chosen(rows, max_per_task=2)

    assert found.left == {"too_many": 1}
    assert sorted(found.rows["span_id"]) == ["a-1", "a-2", "b-0", "second"]


def test_without_outcomes_the_trace_speaks() -> None:
    """A tool that failed, or a score given to the very call, below nothing."""
    rows = [call("a", "1", outcome=None), call("b", "1", outcome=None, reward_tool_status=-0.1)]
    rows.append(call("c", "1", outcome=None, reward_step=-1.0))

    found = chosen(rows)

    assert (found.by, found.left) == ("signals", {"bad_signal": 2})


def test_a_judge_speaks_where_nobody_else_did() -> None:
    """What it said nothing of is not taken."""
    rows = [call(task, "1", outcome=None) for task in "abc"]
    rows.append(call("d", "1", outcome=None, reward_tool_status=-0.1))
    judged = {("test", "a-0", "a-0"): 0.9, ("test", "b-0", "b-0"): 0.5}

    found = chosen(rows, judged=judged)

    assert (found.by, found.left, found.threshold) == ("judge", {"bad_judgement": 2, "bad_signal": 1}, 0.8)


def test_a_scale_nobody_explained_is_refused() -> None:
    """What is good on it, only its owner knows."""
    rows = [call("a", "1", outcome=-3.0), call("b", "1", outcome=7.0)]
    with pytest.raises(SettingsError, match="from -3 to 7"):
        chosen(rows)

    assert chosen(rows, threshold=5.0).rows.height == 1


def test_outcomes_of_one_value_are_taken_or_refused_whole() -> None:
    """All good says nothing of better; all bad teaches nothing."""
    assert chosen([call("a", "1"), call("b", "2")]).is_unanimous
    with pytest.raises(GateRefused, match=r"no outcome reaches 0.5"):
        chosen([call("a", "1", outcome=0.0), call("b", "2", outcome=0.0)])


def test_an_agent_nobody_knows_is_named() -> None:
    """With those there are."""
    with pytest.raises(SettingsError, match="planner") as refusal:
        chosen([call("a", "1")], agents=("planner",))
    assert refusal.value.hint == "The data has: agent."
