"""How rewards add up, and that intermediate ones never reorder outcomes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.rewards.combine import combine


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
