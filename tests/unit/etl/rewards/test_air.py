"""Signals read off the trace: what fires them, which call they fall on, and that they never reorder outcomes."""

import json
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.exports.stats import correlations, coverage
from etl.rewards.combine import combine
from etl.rewards.signals.progress import Course, progress
from etl.settings import EtlConfig
from etl.transform import transform
from tests.spans import Span, evaluation, llm, logs_frame, span, spans_frame, tool

SCHEMA = {"type": "object", "properties": {"q": {"type": "integer"}}, "required": ["q"]}
OFFER = {"gen_ai.tool.definitions": json.dumps([{"type": "function", "name": "search", "parameters": SCHEMA}])}


def transitions(*spans: Span, **settings: Any) -> pl.DataFrame:
    """Run the ETL over an episode and return its transitions."""
    root = span("root", end=99)
    config = EtlConfig(complete_after=0, **settings)
    return transform(spans_frame([root, *spans]), logs_frame(), config).tables["transitions"]


def step(name: str, *, start: float, **rest: Any) -> Span:
    """Return a call of the episode that takes a second."""
    return llm(name, parent="root", start=start, end=start + 1, **rest)


def measured(rows: pl.DataFrame, name: str) -> list[float | None]:
    """Return what a signal measured, step by step."""
    return [json.loads(text).get(name) for text in rows["signals"]]


def test_arguments_that_do_not_fit_the_offered_tool() -> None:
    """Half of the requests are wrong: one misses a required argument."""
    rows = transitions(
        step("a", start=1, attributes=OFFER, calls=[("1", "search", {"q": 1}), ("2", "search", {})]),
        argument_schema=0.2,
    )

    assert rows["reward_argument_schema"].to_list() == [-0.1]


def test_a_tool_that_was_not_offered() -> None:
    """Its name is made up."""
    rows = transitions(step("a", start=1, attributes=OFFER, calls=[("1", "fly", {})]))

    assert measured(rows, "argument_schema") == [-1.0]
    assert rows["reward_argument_schema"].to_list() == [None]


def test_an_answer_that_is_not_the_json_it_should_be() -> None:
    """The schema counts too."""
    wanted = {"type": "json_schema", "json_schema": {"schema": SCHEMA}}
    asked = {"gen_ai.request.response_format": json.dumps(wanted)}
    rows = transitions(
        step("a", start=1, attributes=asked, said='{"q": 1}'),
        step("b", start=3, attributes=asked, said='{"q": "one"}'),
        step("c", start=5, attributes=asked, said="one"),
        step("d", start=7),
        output_format=0.5,
    )

    assert rows["reward_output_format"].to_list() == [0.0, -0.5, -0.5, None]


def test_an_action_already_tried() -> None:
    """By the same agent, with the same arguments."""
    rows = transitions(
        step("a", start=1, agent="x", calls=[("1", "search", {"q": 1})]),
        step("b", start=3, agent="y", calls=[("2", "search", {"q": 1})]),
        step("c", start=5, agent="x", calls=[("3", "search", {"q": 1}), ("4", "search", {"q": 2})]),
        repetition=0.1,
    )

    assert rows["reward_repetition"].to_list() == [0.0, 0.0, -0.05]


def test_a_question_asked_again_falls_on_the_answer_before() -> None:
    """Samples taken at the same time are no retries."""
    rows = transitions(
        step("a", start=1, asked=[("user", "one")]),
        step("b", start=1.5, asked=[("user", "one")]),
        step("c", start=5, asked=[("user", "one")]),
        step("d", start=7, asked=[("user", "two")]),
    )

    assert measured(rows, "retry") == [-1.0, -1.0, 0.0, 0.0]


def test_an_answer_nobody_used() -> None:
    """Used are answers in a later request, and those whose tools ran."""
    rows = transitions(
        step("a", start=1, asked=[("user", "which?")], said="lost"),
        step("b", start=3, said="kept"),
        step("c", start=5, said=None, calls=[("1", "search", {"q": 1})]),
        tool("t", parent="root", tool_name="search", call_id="1", start=6.5, end=7),
        step("d", start=8, asked=[("user", "hi"), ("assistant", "kept"), ("user", "and?")]),
    )

    assert measured(rows, "waste") == [-1.0, 0.0, 0.0, None]


LONG = "The train leaves at nine from platform four, and the ticket costs thirty crowns."


def test_a_conversation_that_is_summed_up_wastes_nothing() -> None:
    """The summary is shown the conversation as one text, and the next request the summary among other words."""
    told = f"user: when? assistant: {LONG}"
    rows = transitions(
        step("a", start=1, asked=[("user", "when?")], said=LONG),
        step("sums up", start=3, asked=[("system", "Sum up."), ("user", told)], said="Train at nine,\nplatform four."),
        step("b", start=5, asked=[("system", "So far: Train at nine, platform four. Go on."), ("user", "and back?")]),
        step("c", start=7, asked=[("user", "something else")]),
    )

    assert measured(rows, "waste") == [0.0, 0.0, -1.0, None]
    assert measured(rows, "retry") == [0.0, 0.0, 0.0, 0.0]


def test_a_question_that_comes_again_after_its_answer_was_used_is_no_retry() -> None:
    """An agent whose history was cut off begins with its task again."""
    rows = transitions(
        step("a", start=1, asked=[("user", "task")], said="first"),
        step("b", start=3, asked=[("user", "task"), ("assistant", "first"), ("user", "on")], said="second"),
        step("c", start=5, asked=[("user", "task")], said="third"),
    )

    assert measured(rows, "retry") == [0.0, 0.0, 0.0]


def test_budgets_of_time_and_tokens() -> None:
    """Nothing within the budget, half the weight at one and a half of it."""
    usage = {"gen_ai.usage.output_tokens": 30}
    rows = transitions(
        step("a", start=1, attributes=usage), latency=0.2, latency_budget_s=0.8, tokens=0.1, token_budget=20
    )

    assert rows["reward_latency"].to_list() == [pytest.approx(-0.05)]
    assert rows["reward_tokens"].to_list() == [pytest.approx(-0.05)]


def test_progress_is_a_difference_of_potentials() -> None:
    """Undiscounted, an episode's steps add up to minus the potential of its first state, whatever happened in it."""
    courses = [
        Course(f"task {number}", [[0.0, float(number % 2)], [1.0, 0.0]], float(number % 2)) for number in range(40)
    ]

    steps = progress(courses, 1.0)

    assert steps is not None
    starts: dict[float | None, list[float]] = {0.0: [], 1.0: []}
    for course, values in zip(courses, steps, strict=True):
        starts[course.outcome].append(-sum(values))
    assert sum(starts[1.0]) / 20 > 0.8
    assert sum(starts[0.0]) / 20 < 0.2


def test_progress_of_few_outcomes_is_not_guessed() -> None:
    """Nineteen episodes, or one outcome, tell nothing."""
    course = Course("t", [[1.0]], 1.0)

    assert progress([course] * 19, 1.0) is None
    assert progress([course] * 40, 1.0) is None


@given(st.lists(st.tuples(st.floats(-5, 5), st.booleans()), min_size=2, max_size=8))
def test_signals_never_reorder_outcomes(draws: list[tuple[float, bool]]) -> None:
    """Whatever is measured, a success keeps a higher total than a failure."""
    totals: dict[float, list[float]] = {0.0: [], 1.0: []}
    for value, succeeded in draws:
        outcome = float(succeeded)
        combined = combine(outcome, [None, None], [value, -value / 2], outcome_gap=1.0, discount=1.0)
        totals[outcome].append(sum(reward or 0.0 for reward in combined.reward))

    assert not totals[0.0] or not totals[1.0] or max(totals[0.0]) < min(totals[1.0])


def test_the_report_correlates_signals_with_outcomes() -> None:
    """Failing tools go with failing episodes here, perfectly."""
    frames = []
    for number in range(4):
        failed = number % 2 == 0
        name = f"e{number}"
        spans = [
            span(f"{name} root", trace=name, end=9, events=[evaluation(0.0 if failed else 1.0)]),
            llm(f"{name} a", trace=name, parent=f"{name} root", calls=[(name, "search", {})]),
            tool(
                f"{name} t",
                trace=name,
                parent=f"{name} root",
                tool_name="search",
                call_id=name,
                start=2,
                status="error" if failed else "ok",
            ),
        ]
        frames.append(transform(spans_frame(spans), logs_frame(), EtlConfig(complete_after=0)).tables)
    rows = pl.concat([tables["transitions"] for tables in frames])

    found = {row["signal"]: row for row in correlations(rows)}

    assert found["tool_status"] == {
        "signal": "tool_status",
        "calls": 4,
        "fired": 2,
        "episodes": 4,
        "correlation": 1.0,
    }
    assert found["progress"]["calls"] == 0
    calls = pl.concat([tables["llm_calls"] for tables in frames])
    (producer,) = coverage(calls)
    assert (producer["calls"], producer["input"], producer["usage"]) == (4, 1.0, 0.0)
