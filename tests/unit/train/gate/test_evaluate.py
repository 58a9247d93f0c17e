"""Evaluation: estimates against a known truth, and verdicts that do not promise more than they know."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from train.data.reading import Episode, Logged
from train.gate.evaluate import Estimate, Verdict, bootstrap_mean, cluster_calls, estimate, judge
from train.settings import Cluster, EvaluateConfig

CONFIG = EvaluateConfig(checkpoint=Path())
MU = np.array([0.5, 0.3, 0.2])
PI = np.array([0.3, 0.3, 0.4])
CHANCE = np.array([0.2, 0.5, 0.8])
"""Probability of a reward after each of three actions."""

TRUE_GAIN = float((PI - MU) @ CHANCE)


def simulate(rng: np.random.Generator, *, policy: np.ndarray = PI, num_tasks: int = 50) -> Estimate:
    """Log four attempts a task with MU and estimate what `policy` would have gained."""
    num_episodes = 4 * num_tasks
    action = rng.choice(3, size=num_episodes, p=MU)
    log_ratio = np.log(policy / MU)[action]
    return estimate(
        log_ratio,
        0.5 * log_ratio**2,
        (rng.random(num_episodes) < CHANCE[action]).astype(float),
        np.arange(num_episodes),
        np.repeat(np.arange(num_tasks), 4),
        cluster=np.repeat(np.arange(num_tasks), 4),
        logprob=np.log(MU)[action],
        num_tokens=np.ones(num_episodes, dtype=int),
        confidence=0.95,
        resamples=400,
        rng=rng,
    )


def test_the_estimated_gain_is_the_true_one_on_average_and_its_interval_holds_it() -> None:
    """200 simulated nights: mean within 3 standard errors, coverage of the 95 % interval at least 90 %."""
    found = [simulate(np.random.default_rng(seed)) for seed in range(200)]

    gains = np.array([each.gain for each in found])
    covered = np.mean([each.gain_low <= TRUE_GAIN <= each.gain_high for each in found])
    assert abs(gains.mean() - TRUE_GAIN) < 3 * gains.std() / np.sqrt(len(gains))
    assert covered >= 0.9


def test_an_unchanged_policy_gains_nothing() -> None:
    """Every weight is 1."""
    found = simulate(np.random.default_rng(0), policy=MU)

    assert (found.gain, found.gain_low, found.gain_high) == (0, 0, 0)
    assert found.snips == pytest.approx(found.earned)
    assert found.ess_share == pytest.approx(1)
    assert found.kl_call == 0


def test_weights_of_one_and_three_leave_four_fifths_of_the_calls() -> None:
    """(1 + 3)^2 / (1 + 9) / 2 = 0.8, worked by hand; so are the estimates."""
    found = estimate(
        np.log([1.0, 3.0]),
        np.zeros(2),
        np.array([1.0, 0.0]),
        np.arange(2),
        np.zeros(2, dtype=np.int64),
        cluster=np.zeros(2, dtype=np.int64),
        logprob=np.array([-2.0, -9.0]),
        num_tokens=np.array([4, 1]),
        confidence=0.95,
        resamples=100,
        rng=np.random.default_rng(0),
    )

    assert found.ess_share == pytest.approx(0.8)
    assert found.ips == pytest.approx(0.5)
    assert found.snips == pytest.approx(0.25)
    assert found.max_weight_share == pytest.approx(0.75)
    assert found.gain == pytest.approx((0 * 1 + 2 * -1) / 2)
    assert found.dr == pytest.approx(0.5 - 1)
    assert (found.nll, found.nll_before) == (0.5, 0.5)  # of the good call alone, whose weight is 1


def test_values_of_one_cluster_do_not_count_as_many() -> None:
    """Each value ten times over in its own cluster: the interval stays as wide as without the copies."""
    values = np.random.default_rng(1).normal(size=40)

    plain = bootstrap_mean(values, np.arange(40), confidence=0.95, resamples=500, rng=np.random.default_rng(2))
    copied = bootstrap_mean(
        np.repeat(values, 10),
        np.repeat(np.arange(40), 10),
        confidence=0.95,
        resamples=500,
        rng=np.random.default_rng(2),
    )

    assert copied == pytest.approx(plain)


def test_what_is_resampled_together() -> None:
    """Two attempts of one user at two tasks, one of another at the first task, two of nobody at the second."""
    who = [("t", "ada"), ("u", "ada"), ("t", "bob"), ("u", None), ("u", None)]
    logged = Logged([Episode(str(index), task, 1.0, user) for index, (task, user) in enumerate(who)], [])
    calls = [0, 0, 1, 2, 3, 4]  # episode of each call

    def together(by: Cluster) -> list[set[int]]:
        clusters = cluster_calls(calls, logged, by)
        found = [{calls[at] for at in np.flatnonzero(clusters == cluster)} for cluster in np.unique(clusters)]
        return sorted(found, key=min)

    assert together("episode") == [{0}, {1}, {2}, {3}, {4}]
    assert together("task") == [{0, 2}, {1, 3, 4}]
    assert together("user") == [{0, 1}, {2}, {3}, {4}]


GOOD = Estimate(
    num_episodes=100,
    num_calls=200,
    earned=0.5,
    ips=0.6,
    snips=0.6,
    dr=0.6,
    gain=0.1,
    gain_low=0.05,
    gain_high=0.15,
    ess_share=0.8,
    max_weight_share=0.02,
    kl_call=0.1,
    nll=0.4,
    nll_before=0.5,
)


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, Verdict.PASSED),
        ({"gain_low": -0.01}, Verdict.INCONCLUSIVE),
        ({"gain": -0.1, "gain_low": -0.2, "gain_high": -0.01}, Verdict.REFUSED),
        ({"kl_call": 0.71}, Verdict.REFUSED),
        ({"ess_share": 0.29}, Verdict.REFUSED),
        ({"num_episodes": 15}, Verdict.INCONCLUSIVE),
        ({"nll": 0.59}, Verdict.PASSED),
        ({"nll": 0.61}, Verdict.REFUSED),
        ({"nll": None, "nll_before": None}, Verdict.PASSED),
        ({"num_episodes": 15, "kl_call": 0.71}, Verdict.REFUSED),
    ],
)
def test_verdicts(changes: dict[str, float], verdict: Verdict) -> None:
    """A limit that is broken refuses whatever the gain; too few episodes never pass."""
    assert judge(replace(GOOD, **changes), CONFIG)[0] is verdict


def test_without_heldout_calls_nothing_can_be_said() -> None:
    """Which is not the same as a refusal."""
    assert judge(None, CONFIG)[0] is Verdict.INCONCLUSIVE


def test_a_bad_model_of_the_outcome_does_not_bias_the_estimate() -> None:
    """Doubly robust: outcomes shifted by a constant no baseline of a lone task knows change the gain by noise alone."""
    gains = []
    for shift in (0.0, 5.0):
        rng = np.random.default_rng(3)
        action = rng.choice(3, size=4000, p=MU)
        log_ratio = np.log(PI / MU)[action]
        outcomes = (rng.random(4000) < CHANCE[action]) + shift
        found = estimate(
            log_ratio,
            0.5 * log_ratio**2,
            outcomes,
            np.arange(4000),
            np.arange(4000) // 4,
            cluster=np.arange(4000) // 4,
            logprob=np.log(MU)[action],
            num_tokens=np.ones(4000, dtype=int),
            confidence=0.95,
            resamples=100,
            rng=rng,
        )
        gains.append(found.gain)
        assert found.dr == pytest.approx(found.earned + found.gain)
    assert gains[0] == pytest.approx(gains[1], abs=1e-9)
    assert gains[0] == pytest.approx(TRUE_GAIN, abs=0.03)
