"""What was said of a trace's spans, and why a call was pushed."""

from typing import Any

import pytest

from spanloop.page.questions import Answer, Question
from spanloop.page.traces.judged import Known, arranged, attributes_of, parts_of, why_pushed


def known(**rows: list[dict[str, Any]]) -> Known:
    names = ("calls", "transitions", "rewards", "rejected", "tools", "credit")
    return arranged(Answer(Question(name), [{"project": "p", **row} for row in rows.get(name, [])]) for name in names)


def test_a_span_that_is_another_rendition_leads_to_its_call() -> None:
    """Where the ETL has read nothing, nothing is known."""
    one = known(calls=[{"span_id": "a", "merged_span_ids": ["b"]}, {"span_id": "c", "merged_span_ids": None}])

    assert (set(one.calls), one.merged, one.has_run) == ({"a", "c"}, {"b": "a"}, True)
    assert not known().has_run


def test_rewards_stand_by_what_they_judge() -> None:
    """Those of a call or a run by its span; of an episode, and of a call nobody found, under none."""
    rows = [
        {"judges": judges, "judged_span_id": span, "name": name}
        for name, judges, span in (("a", "call", "s"), ("b", "run", "s"), ("c", "episode", "s"), ("d", "call", None))
    ]

    found = known(rewards=rows).rewards

    assert {span: [row["name"] for row in rows] for span, rows in found.items()} == {"s": ["a", "b"], "": ["c", "d"]}
    assert not known(rewards=rows).has_run


def test_a_push_is_the_newest_checkpoints_and_else_the_reward() -> None:
    """Nothing known is no push."""
    credit = [{"span_id": "a", "taken": -0.5}, {"span_id": "a", "taken": 2.0}, {"span_id": "c", "taken": None}]
    one = known(credit=credit, transitions=[{"span_id": name, "reward": 0.25} for name in "abc"])

    assert [one.pushed(span) for span in ("a", "b", "c", "d")] == [-0.5, 0.25, 0.0, 0.0]


def test_attributes_stand_before_what_is_beside_them() -> None:
    """By name; values as the text they are; what is empty is left out, and what cannot be read ends nothing."""
    span = {
        "attributes": '{"b": {"ä": 1}, "a": "x"}',
        "events": "[]",
        "links": None,
        "scope_name": "s",
        "resource": "{}",
    }

    assert attributes_of(span) == [("a", "x"), ("b", '{\n "ä": 1\n}'), ("(scope name)", "s")]
    assert attributes_of({"attributes": "{"}) == []
    assert attributes_of({"attributes": "[1]"}) == []


def test_signals_count_as_they_were_scaled_and_given_rewards_do_not() -> None:
    """Parts that were not measured are none."""
    row = {"reward": 1.0, "reward_outcome": 1.0, "reward_step": None, "reward_retry": -0.5, "air_scale": 0.5}

    assert [(name, value) for name, value, _ in parts_of(row)] == [("outcome", 1.0), ("retry", -0.25)]
    assert "factor 0.5" in parts_of(row)[1][2]
    assert [(name, value) for name, value, _ in parts_of({**row, "air_scale": 1.0})][1] == ("retry", -0.5)


CREDIT = {
    "checkpoint_id": "c7",
    "taken": 0.5,
    "weight": 1.0,
    "loss": "grpo",
    "return_": 1.0,
    "value": 0.25,
    "outcome": 1.0,
}


@pytest.mark.parametrize(
    ("changed", "sign", "words"),
    [
        ({}, "plus", "Pushed up by c7 (loss grpo, advantage +0.500): what came of it (1) was more than could be"),
        (
            {"taken": -0.5, "return_": 0.0},
            "minus",
            "Pushed down by c7 (loss grpo, advantage -0.500): what came of it (0) was less",
        ),
        ({"taken": 0.0}, "zero", "Left where it was by c7"),
        ({"taken": None}, "zero", "Left where it was by c7"),
        ({"weight": 0.0}, "zero", "Left out by c7 (loss grpo): it was neither"),
        ({"loss": None}, "plus", "(no loss, advantage +0.500)"),
        ({"value": None, "return_": None}, "plus", "(unknown) was compared with other attempts at its task"),
        ({"outcome": 0.0}, "plus", "the episode ended with outcome 0."),
    ],
)
def test_a_sentence_says_why(changed: dict[str, Any], sign: str, words: str) -> None:
    """Up, down or not at all; against what, and how the episode ended, an outcome of 0 included."""
    why = why_pushed([{**CREDIT, **changed}, {"checkpoint_id": "older"}], {})

    assert why is not None
    assert why[0] == sign
    assert words in why[1]


def test_without_credit_there_is_no_why() -> None:
    """And what the step itself earned is said where it did."""
    assert why_pushed([], {"reward": 1.0}) is None
    assert "its own step earned -0.1" in (why_pushed([CREDIT], {"reward": -0.1}) or ("", ""))[1]
