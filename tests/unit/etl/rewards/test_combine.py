"""How rewards add up, and that intermediate ones never reorder outcomes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from etl.rewards.combine import combine, outcome_gap, recombine
from etl.settings import EtlConfig
from etl.transform import transform
from tests.spans import evaluation, llm, logs_frame, span, spans_frame, tool


def test_many_failures_never_outweigh_the_outcome() -> None:
    """Twenty failed tools of a success still leave it above a failure without any."""
    success = combine(1.0, [None] * 2, [-2.0, None], outcome_gap=1.0, discount=1.0)
    failure = combine(0.0, [None] * 2, [None, None], outcome_gap=1.0, discount=1.0)

    assert success.return_[0] == pytest.approx(0.51)
    assert failure.return_[0] == 0.0
    assert success.air_scale == pytest.approx(0.245)


@given(
    st.lists(st.floats(-3, 3), min_size=1, max_size=12),
    st.lists(st.floats(-3, 3), min_size=1, max_size=12),
    st.floats(0.05, 1),
    st.sampled_from([(0.5, 0.25), (1.0, 0.0), (-0.5, -1.0), (0.75, 0.5)]),
)
def test_the_order_of_outcomes_holds_at_any_discount_and_grade(
    winner: list[float], loser: list[float], discount: float, outcomes: tuple[float, float]
) -> None:
    """However long the better attempt took, from every step of both."""
    gap = outcome_gap([0.5, 0.25, 1.0, 0.0, -0.5, -1.0, 0.75], EtlConfig())
    better, worse = (
        combine(outcome, [None] * len(air), air, outcome_gap=gap, discount=discount)
        for outcome, air in zip(outcomes, (winner, loser), strict=True)
    )

    assert min(value for value in better.return_ if value is not None) > max(
        value for value in worse.return_ if value is not None
    )


def test_progress_is_outside_the_bound() -> None:
    """It takes the potential of the state it begins in from every return, whatever was measured beside it."""
    potential = [0.3, 0.9, 0.1]
    discount = 0.9
    moved = [discount * after - now for now, after in zip(potential, [*potential[1:], 0.0], strict=True)]

    plain = combine(1.0, [None] * 3, [-2.0, None, -2.0], outcome_gap=1.0, discount=discount)
    shaped = combine(1.0, [None] * 3, [-2.0, None, -2.0], outcome_gap=1.0, discount=discount, progress=moved)

    assert shaped.air_scale == plain.air_scale
    for before, after, phi in zip(plain.return_, shaped.return_, potential, strict=True):
        assert before is not None
        assert after == pytest.approx(before - phi)


def test_sums_made_anew_from_columns_are_those_made_at_first() -> None:
    """Of two episodes, in any order of their rows."""
    dataset = transform(
        spans_frame(
            [
                one
                for name, value in (("a", 1.0), ("b", 0.75))
                for one in (
                    span(f"{name} root", trace=name, end=9, events=[evaluation(value)]),
                    llm(f"{name} 1", trace=name, parent=f"{name} root", start=1, calls=[(name, "look", {})]),
                    tool(
                        f"{name} t",
                        trace=name,
                        parent=f"{name} root",
                        start=3,
                        tool_name="look",
                        call_id=name,
                        status="error",
                    ),
                    llm(f"{name} 2", trace=name, parent=f"{name} root", start=5),
                )
            ]
        ),
        logs_frame(),
        EtlConfig(complete_after=0, tool_error=-1.0),
    )
    rows = dataset.tables["transitions"].reverse()
    assert set(rows["air_scale"]) == {0.49 * 0.25}

    again = recombine(rows.with_columns(reward=None, return_=None, reward_outcome=None, air_scale=None), EtlConfig())

    assert_frame_equal(again.select(rows.columns), rows)


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
    """Undiscounted, the first return is the sum of all rewards, the outcome among them."""
    combined = combine(1.0, [None] * len(air), air, outcome_gap=1.0, discount=1.0)

    assert combined.return_[0] == pytest.approx(sum(reward for reward in combined.reward if reward is not None))
