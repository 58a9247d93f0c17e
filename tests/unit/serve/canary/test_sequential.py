import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.canary.sequential import GRID, Source, bounds, evidence_below

UNIT = st.floats(0, 1, allow_nan=False)
EXACT = st.integers(0, 64).map(lambda number: number / 64)
"""Values whose distance from 1 is exact too."""

SEED = 20261121


def source(values: list[float]) -> Source:
    one = Source()
    one.add(values)
    return one


@given(st.lists(UNIT, max_size=30), st.lists(UNIT, max_size=30), st.randoms())
def test_order_and_batches_change_nothing(first: list[float], second: list[float], random: object) -> None:
    """So that what a restart reads again at once says what was said one by one."""
    whole, parts = source(first + second), source(first)
    mixed = first + second
    random.shuffle(mixed)  # type: ignore[attr-defined]
    parts.add(second)

    assert parts.num == whole.num
    for other in (parts, source(mixed)):
        np.testing.assert_allclose(other.above, whole.above, atol=1e-9)
        np.testing.assert_allclose(other.below, whole.below, atol=1e-9)


@given(st.lists(UNIT, min_size=1, max_size=50))
def test_wealth_is_monotone_in_the_mean_it_bets_against(values: list[float]) -> None:
    """On this rests that the ends of a cell of the grid bound what lies within."""
    one = source(values)

    assert (np.diff(one.above) <= 1e-9).all()
    assert (np.diff(one.below) >= -1e-9).all()


@given(st.lists(EXACT, max_size=40))
def test_mirrored_observations_mirror_the_wealth(values: list[float]) -> None:
    """Betting that a mean is above m is betting that its complement's is below 1 - m."""
    np.testing.assert_allclose(
        source(values).above, source([1 - value for value in values]).below[::-1], rtol=1e-6, atol=1e-6
    )


def test_wealth_is_what_a_gambler_would_have() -> None:
    """Worked out by hand for two observations and m = 1/2: the average over stakes of the product of the payoffs."""
    stakes = [0.0, *(0.5**power for power in range(1, 9))]
    expected = math.log(sum(((1 - f) + f * 1.0 / 0.5) * (1 - f) for f in stakes) / len(stakes))

    assert source([1.0, 0.0]).above[len(GRID) // 2] == pytest.approx(expected)


def test_a_bet_is_fair_where_the_mean_is_m() -> None:
    """Expected wealth after three coins, over all eight outcomes, is the stake: so Ville's inequality holds."""
    for m_index in (20, 100, 180):
        m = GRID[m_index]
        expected = sum(
            math.exp(source([float(bit) for bit in bits]).above[m_index]) * m ** sum(bits) * (1 - m) ** (3 - sum(bits))
            for bits in np.ndindex(2, 2, 2)
        )
        assert expected == pytest.approx(1)


@given(st.lists(UNIT, max_size=40), st.lists(UNIT, max_size=40))
def test_the_interval_holds_what_is_possible(x: list[float], y: list[float]) -> None:
    """Within [-1, 1], mirrored with the sources, around the observed difference, and in agreement with the test."""
    one, other = source(x), source(y)

    low, high = bounds(one, other, 0.05)

    assert -1 <= low <= high <= 1
    assert bounds(other, one, 0.05) == (-high, -low)
    assert (evidence_below(one, other) >= math.log(20)) == (high <= 0)
    if x and y:
        assert low - 0.01 <= one.mean - other.mean <= high + 0.01


def test_observations_out_of_range_are_an_error() -> None:
    """A reward that was not scaled would break the guarantee in silence."""
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        source([0.5, 1.5])


def first_rejection(
    rng: np.random.Generator, live: float, canary: float, *, alpha: float, num: int, every: int
) -> int | None:
    """Return after how many units of the canary its mean was called smaller than the live model's, which has thrice."""
    mine, theirs = Source(), Source()
    for seen in range(every, num + 1, every):
        mine.add((rng.random(every) < canary).astype(float).tolist())
        theirs.add((rng.random(3 * every) < live).astype(float).tolist())
        if evidence_below(mine, theirs) >= -math.log(alpha):
            return seen
    return None


@pytest.mark.long
@pytest.mark.parametrize("mean", [0.02, 0.5, 0.9])
def test_peeking_all_the_time_raises_no_more_false_alarms_than_said(mean: float) -> None:
    """100 canaries as good as the live model, looked at after every fifth unit of 300, at level 0.1."""
    rng = np.random.default_rng(SEED)

    alarms = sum(first_rejection(rng, mean, mean, alpha=0.1, num=300, every=5) is not None for _ in range(100))

    assert alarms <= 10, f"seed {SEED}"


def test_a_canary_that_is_much_worse_is_found_soon() -> None:
    """0.6 instead of 0.8, at the level of one of four metrics at one of three shares: nine in ten within 300 units."""
    rng = np.random.default_rng(SEED)

    found = [first_rejection(rng, 0.8, 0.6, alpha=0.05 / 12, num=600, every=10) for _ in range(50)]

    assert sum(seen is not None and seen <= 300 for seen in found) >= 45, f"seed {SEED}: {found}"
    assert None not in found
