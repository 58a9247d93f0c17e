"""Estimates against a known truth, and intervals that hold what they promise."""

import math
from typing import Any

import numpy as np
import pytest

from train.gate.estimate import Estimate, estimate, mean_interval, student_quantile

MU = np.array([0.5, 0.3, 0.2])
PI = np.array([0.3, 0.3, 0.4])
CHANCE = np.array([0.2, 0.5, 0.8])
"""Probability of a reward after each of three actions."""

TRUE_GAIN = float((PI - MU) @ CHANCE)


def judge_calls(log_ratio: Any, outcomes: Any, **fields: Any) -> Estimate:
    """Estimate from one call an episode, each a task of its own, but for what is said otherwise."""
    num_calls = len(log_ratio)
    given: dict[str, Any] = {
        "kl": np.zeros(num_calls),
        "episode": np.arange(num_calls),
        "task": np.arange(len(outcomes)),
        "cluster": np.arange(len(outcomes)),
        "logprob": np.full(num_calls, -1.0),
        "num_tokens": np.ones(num_calls, dtype=int),
        "confidence": 0.95,
    }
    return estimate(np.asarray(log_ratio), outcomes=np.asarray(outcomes, dtype=float), **given | fields)


def simulate(
    rng: np.random.Generator, *, policy: np.ndarray = PI, chance: np.ndarray = CHANCE, num_tasks: int = 50,
    other: np.ndarray | None = None,
) -> Estimate:  # fmt: skip
    """Log four attempts a task with MU and estimate what `policy` would have gained."""
    tasks = np.repeat(np.arange(num_tasks), 4)
    action = rng.choice(3, size=len(tasks), p=MU)
    log_ratio = np.log(policy / MU)[action]
    return judge_calls(
        log_ratio,
        rng.random(len(tasks)) < chance[action],
        kl=0.5 * log_ratio**2,
        task=tasks,
        cluster=tasks,
        logprob=np.log(MU)[action],
        log_ratio_other=None if other is None else np.log(other / MU)[action],
    )


def test_the_estimated_gain_is_the_true_one_on_average_and_its_interval_holds_it() -> None:
    """400 simulated nights: mean within 3 standard errors, coverage of the 95 % interval between 92.5 and 97.5 %."""
    found = [simulate(np.random.default_rng(seed)) for seed in range(400)]

    gains = np.array([each.gain for each in found])
    covered = np.mean([each.gain_low <= TRUE_GAIN <= each.gain_high for each in found])
    assert abs(gains.mean() - TRUE_GAIN) < 3 * gains.std() / np.sqrt(len(gains))
    assert 0.925 <= covered <= 0.975


@pytest.mark.parametrize("num_tasks", [8, 16, 64])
def test_no_difference_is_called_better_or_worse_as_seldom_as_promised(num_tasks: int) -> None:
    """1000 nights in which what changed earns nothing: 2.5 % either way, to three standard errors, few tasks too."""
    found = [simulate(np.random.default_rng(seed), chance=np.full(3, 0.5), num_tasks=num_tasks) for seed in range(1000)]

    at_most = 0.025 + 3 * math.sqrt(0.025 * 0.975 / 1000)
    assert np.mean([each.gain_low > 0 for each in found]) <= at_most
    assert np.mean([each.gain_high < 0 for each in found]) <= at_most


def test_an_episode_gains_what_its_calls_gain_together() -> None:
    """Three calls an episode, each of which earns a third of the outcome: the gain is that of the outcome."""
    gains = []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        action = rng.choice(3, size=(200, 3), p=MU)
        outcomes = CHANCE[action].sum(axis=1)
        found = judge_calls(np.log(PI / MU)[action].ravel(), outcomes, episode=np.repeat(np.arange(200), 3))
        gains.append(found.gain)
    assert (found.num_episodes, found.num_calls) == (200, 600)
    assert np.mean(gains) == pytest.approx(3 * TRUE_GAIN, abs=3 * np.std(gains) / 10)


def test_an_unchanged_policy_gains_nothing() -> None:
    """Every weight is 1; nor does one that changed as much as what it is compared with."""
    for found in (simulate(np.random.default_rng(0), policy=MU), simulate(np.random.default_rng(0), other=PI)):
        assert (found.gain, found.gain_low, found.gain_high) == (0, 0, 0)
    assert simulate(np.random.default_rng(0), policy=MU).ess_share == pytest.approx(1)


def test_what_is_live_is_the_measure_not_what_acted() -> None:
    """Half of the way to the new policy is live already: the gain is the other half's."""
    half = (MU + PI) / 2
    gains = [simulate(np.random.default_rng(seed), other=half).gain for seed in range(200)]

    assert np.mean(gains) == pytest.approx(TRUE_GAIN / 2, abs=3 * np.std(gains) / np.sqrt(200))


def test_what_is_worked_out_by_hand() -> None:
    """Weights 1, 3, 1, 9 are bounded by the root of four and divided by their mean, 6/4: 2/3 and 4/3."""
    found = judge_calls(
        np.log([1.0, 3.0, 1.0, 9.0]),
        [1, 0, 0, 1],
        task=np.zeros(4, dtype=int),
        logprob=np.array([-2.0, -9.0, -9.0, -1.0]),
        num_tokens=np.array([4, 1, 1, 2]),
    )

    above = np.array([2 / 3, -2 / 3, -2 / 3, 2 / 3])  # each against the mean of the other three
    assert found.gain == pytest.approx(float(np.mean((np.array([2, 4, 2, 4]) / 3 - 1) * above)))
    assert found.ess_share == pytest.approx(14**2 / (1 + 9 + 1 + 81) / 4)
    assert found.max_weight_share == pytest.approx(1 / 3)
    assert found.nll_before == pytest.approx(3 / 6)  # of the two good calls alone
    assert found.nll == pytest.approx((3 - math.log(9)) / 6)


def test_values_of_one_cluster_do_not_count_as_many() -> None:
    """Each value ten times over in its own cluster: the interval stays as wide as without the copies."""
    values = np.random.default_rng(1).normal(size=40)

    plain = mean_interval(values, np.arange(40), confidence=0.95)
    copied = mean_interval(np.repeat(values, 10), np.repeat(np.arange(40), 10), confidence=0.95)

    assert copied == pytest.approx(plain)
    half = 2.0227 * values.std(ddof=1) / math.sqrt(40)  # Student's 0.975 quantile with 39 degrees
    assert plain[2] - plain[0] == pytest.approx(half, rel=1e-3)


@pytest.mark.parametrize(("degrees", "quantile"), [(1, 12.706), (2, 4.303), (3, 3.182), (5, 2.571), (30, 2.042)])
def test_the_quantiles_are_those_of_the_tables(degrees: int, quantile: float) -> None:
    """Student's 0.975 quantile."""
    assert student_quantile(0.975, degrees) == pytest.approx(quantile, rel=2e-3)


def test_a_shift_of_all_outcomes_changes_nothing() -> None:
    """What no baseline of a lone task knows is what all have in common: it cancels, to rounding."""
    rng = np.random.default_rng(3)
    action = rng.choice(3, size=2000, p=MU)
    outcomes = (rng.random(2000) < CHANCE[action]).astype(float)

    gains = [judge_calls(np.log(PI / MU)[action], outcomes + shift).gain for shift in (0.0, 5.0)]

    assert gains[0] == pytest.approx(gains[1], abs=1e-9)
