"""Which rewards count, what the trace itself says, and how they add up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.rewards.combine import combine
from etl.settings import EtlConfig
from etl.tables import Dataset
from etl.transform import transform
from tests.spans import (
    Span,
    evaluation,
    identifier,
    llm,
    logs_frame,
    reward_record,
    span,
    spans_frame,
    tool,
)


def run(*spans: Span, logs: list[dict[str, object]] | None = None) -> Dataset:
    """Run the ETL over spans and log records, taking every trace as complete."""
    return transform(spans_frame(spans), logs_frame(logs or []), EtlConfig(complete_after=0))


def reasons(dataset: Dataset) -> dict[float, str]:
    """Return the reason of each reward by its value."""
    return dict(dataset.tables["rewards"].select("value", "reason").iter_rows())


def test_the_outcome_belongs_to_the_last_step() -> None:
    """Earlier steps know nothing: null, not 0."""
    dataset = run(
        span("root", end=9, events=[evaluation(1.0)]),
        llm("a", parent="root", start=1, end=2),
        llm("b", parent="root", start=3, end=4),
    )

    rows = dataset.tables["transitions"]
    assert rows["reward"].to_list() == [None, 1.0]
    assert rows["return_"].to_list() == [1.0, 1.0]
    assert rows["outcome"].to_list() == [1.0, 1.0]


def test_no_reward_is_null_everywhere() -> None:
    """Missing is never 0."""
    dataset = run(llm("a"))

    (row,) = dataset.tables["transitions"].to_dicts()
    assert (row["reward"], row["return_"], row["outcome"], row["reward_outcome"]) == (None, None, None, None)


def test_the_only_reward_of_the_root_is_the_outcome_whatever_its_name() -> None:
    """Teams name their scores as they like."""
    dataset = run(span("root", end=9, events=[evaluation(0.5, name="accuracy")]), llm("a", parent="root"))

    assert dataset.tables["episodes"]["outcome"].to_list() == [0.5]


def test_of_several_names_none_is_guessed() -> None:
    """Without the configured name the outcome stays unknown, and each reward says why it was not used."""
    dataset = run(
        span("root", end=9, events=[evaluation(0.5, name="accuracy"), evaluation(0.9, name="style")]),
        llm("a", parent="root"),
    )

    assert dataset.tables["episodes"]["outcome"].to_list() == [None]
    assert reasons(dataset) == {0.5: "not_the_outcome", 0.9: "not_the_outcome"}


def test_a_later_score_corrects_an_earlier_one() -> None:
    """By the time it was given, whichever way it came."""
    dataset = run(
        span("root", end=9, events=[evaluation(0.0, at=10)]),
        llm("a", parent="root"),
        logs=[reward_record(1.0, at=20)],
    )

    assert dataset.tables["episodes"]["outcome"].to_list() == [1.0]
    assert reasons(dataset) == {0.0: "superseded", 1.0: "outcome"}


def test_an_equal_score_is_a_duplicate() -> None:
    """Counted once, kept twice."""
    dataset = run(
        span("root", end=9, events=[evaluation(1.0, at=10)]),
        llm("a", parent="root"),
        logs=[reward_record(1.0, at=20)],
    )

    assert sorted(dataset.tables["rewards"]["reason"].to_list()) == ["duplicate", "outcome"]


def test_a_score_without_a_value_is_kept_unused() -> None:
    """A label alone is no reward."""
    dataset = run(span("root", end=9, events=[evaluation(None, label="good")]), llm("a", parent="root"))

    (row,) = dataset.tables["rewards"].to_dicts()
    assert (row["value"], row["label"], row["used"], row["reason"]) == (None, "good", False, "no_score")


def test_a_score_for_a_span_that_is_not_there_is_kept_unused() -> None:
    """The judged span may come with a later export."""
    dataset = run(llm("a"), logs=[reward_record(1.0, span_name="gone")])

    assert dataset.tables["rewards"]["reason"].to_list() == ["no_such_span"]


def test_a_score_of_a_model_call_is_a_step_reward() -> None:
    """It belongs to that step and to no other."""
    dataset = run(
        span("root", end=9, events=[evaluation(1.0)]),
        llm("a", parent="root", start=1, end=2, events=[evaluation(0.25, name="helpful")]),
        llm("b", parent="root", start=3, end=4),
    )

    assert dataset.tables["transitions"]["reward_step"].to_list() == [0.25, None]
    assert dataset.tables["transitions"]["return_"].to_list() == [1.25, 1.0]


def test_agentlightning_annotations_are_rewards() -> None:
    """The link names the judged call; without a name the first reward is the primary one."""
    note = span(
        "agentlightning.annotation",
        parent="root",
        start=5,
        attributes={
            "agentlightning.reward.0.value": 0.5,
            "agentlightning.link.0.key_match": "gen_ai.response.id",
            "agentlightning.link.0.value_match": "r1",
        },
    )
    dataset = run(span("root", end=9), llm("a", parent="root", start=1, response_id="r1"), note)

    (row,) = dataset.tables["rewards"].to_dicts()
    assert (row["name"], row["value"], row["reason"]) == ("primary", 0.5, "step")


def test_a_failed_tool_costs_the_call_that_asked_for_it() -> None:
    """By tool call id, though another call ended later."""
    dataset = run(
        span("root", end=9),
        llm("asks", parent="root", start=1, end=2, calls=[("call_1", "search", {"q": "x"})]),
        llm("other", parent="root", start=2.5, end=3),
        tool(
            "fails", parent="root", start=4, end=5, tool_name="search", call_id="call_1", status="error", message="no"
        ),
    )

    assert dataset.tables["transitions"]["reward_tool_status"].to_list() == [-0.1, None]
    (row,) = dataset.tables["tool_calls"].to_dicts()
    assert (row["caused_by_span_id"], row["attribution_rule"]) == (identifier("asks", 16), "tool_call_id")


def test_a_tool_that_worked_is_measured_as_zero() -> None:
    """Measured and nothing wrong is 0; nothing to measure is null."""
    dataset = run(
        span("root", end=9),
        llm("asks", parent="root", start=1, end=2, calls=[("call_1", "search", {})]),
        tool("works", parent="root", start=4, end=5, tool_name="search", arguments={"q": 1}),
        llm("done", parent="root", start=6, end=7),
    )

    assert dataset.tables["transitions"]["reward_tool_status"].to_list() == [0.0, None]
    assert dataset.tables["tool_calls"]["attribution_rule"].to_list() == ["same_parent"]


def test_many_failures_never_outweigh_the_outcome() -> None:
    """Twenty failed tools of a success still leave it above a failure without any."""
    success = combine(1.0, [None] * 2, [-2.0, None], outcome_gap=1.0, discount=1.0)
    failure = combine(0.0, [None] * 2, [None, None], outcome_gap=1.0, discount=1.0)

    assert success.return_[0] == pytest.approx(0.51)
    assert failure.return_[0] == 0.0
    assert success.air_scale == pytest.approx(0.245)


AIR = st.lists(st.one_of(st.none(), st.floats(-5, 5)), min_size=1, max_size=6)


@given(AIR, AIR, st.floats(0.01, 10))
def test_intermediate_rewards_never_reorder_outcomes(
    winner: list[float | None], loser: list[float | None], gap: float
) -> None:
    """Whatever the signals say, outcomes one gap apart keep their order."""
    better = combine(gap, [None] * len(winner), winner, outcome_gap=gap, discount=1.0)
    worse = combine(0.0, [None] * len(loser), loser, outcome_gap=gap, discount=1.0)

    assert better.return_[0] is not None
    assert worse.return_[0] is not None
    assert better.return_[0] > worse.return_[0]


@given(AIR)
def test_rewards_are_conserved(air: list[float | None]) -> None:
    """Undiscounted, the first return is the sum of all rewards."""
    combined = combine(1.0, [None] * len(air), air, outcome_gap=1.0, discount=1.0)

    assert combined.return_[0] == pytest.approx(sum(reward for reward in combined.reward if reward is not None))
