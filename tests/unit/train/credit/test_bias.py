"""Credit against the exact gradient of a process that is known: unbiased where we say so, biased where others are."""

from collections.abc import Callable

import numpy as np
import pytest

from tests.unit.train.game import STATES, TURNS, Game, Played
from train.credit.advantages import bootstrapped_returns, call_advantages
from train.credit.value import cross_fit, deal_folds

GROUP = 8
REPEATS = 1500
Estimator = Callable[[Game, Played], np.ndarray]


def calls_of(played: Played) -> dict[str, np.ndarray]:
    """Return episode, turn and times of the calls that were made, in order."""
    episode, turn = np.nonzero(played.states >= 0)
    return {"episode": episode, "start_ns": turn * 10, "end_ns": turn * 10 + 5}


def spread(played: Played, values: np.ndarray) -> np.ndarray:
    """Return values of calls as (episode, turn)."""
    table = np.zeros(played.states.shape)
    table[played.states >= 0] = values
    return table


def loo(game: Game, played: Played) -> np.ndarray:
    """Our causal return against the other attempts at the task."""
    calls = calls_of(played)
    found = call_advantages(
        played.outcomes,
        np.arange(len(played.states)) // GROUP,
        played.intermediate[played.states >= 0],
        slot=calls["start_ns"] // 10,
        **calls,
    )
    return spread(played, found)


def gae_value(game: Game, played: Played) -> np.ndarray:
    """Our lambda-return against values fitted on the other tasks, by state and turn."""
    made = played.states >= 0
    calls = calls_of(played)
    task = calls["episode"] // GROUP
    returns = np.concatenate([row[::-1].cumsum()[::-1][alive] for row, alive in zip(played.rewards, made, strict=True)])
    features = np.concatenate([np.eye(STATES)[played.states[made]], np.eye(TURNS)[calls["start_ns"] // 10]], axis=1)
    found = cross_fit(features, returns, deal_folds(task, calls["episode"]))
    target = bootstrapped_returns(played.intermediate[made], played.outcomes, found.values, lambda_=0.9, **calls)
    return spread(played, target - found.values)


def mt_grpo(game: Game, played: Played) -> np.ndarray:
    """Rewards less their mean over those still playing: MT-GRPO per turn, as verl issue 7244 describes it."""
    made = played.states >= 0
    centered = (played.rewards - played.rewards.sum(0) / np.maximum(made.sum(0), 1)) * made
    return centered[:, ::-1].cumsum(1)[:, ::-1] * made


def measure(estimator: Estimator, *, air: float, num_episodes: int, repeats: int) -> tuple[float, float, float]:
    """Return the estimator's relative bias, three standard errors of it under no bias, and the cosine to the truth."""
    game = Game()
    truth = game.exact_gradient(air)
    estimates = []
    for _ in range(repeats):
        played = game.play(num_episodes, air)
        estimates.append(game.gradient(played, estimator(game, played)))
    stack = np.array(estimates)
    mean = stack.mean(0)
    norm = np.linalg.norm(truth)
    # Of an unbiased mean, the expected squared distance to the truth is the sum of the variances over the repeats.
    error = np.sqrt(stack.var(0, ddof=1).sum() / repeats)
    cosine = float((mean * truth).sum() / np.linalg.norm(mean) / norm)
    return float(np.linalg.norm(mean - truth) / norm), float(3 * error / norm), cosine


@pytest.mark.parametrize("air", [0.0, 0.2])
def test_leave_one_out_returns_have_no_bias(air: float) -> None:
    """Within three standard errors of the exact gradient, with intermediate rewards and without."""
    bias, allowed, cosine = measure(loo, air=air, num_episodes=GROUP, repeats=REPEATS)

    assert bias < allowed
    assert cosine > 0.98


@pytest.mark.parametrize("air", [0.0, 0.2])
def test_gae_with_a_cross_fitted_value_has_no_bias(air: float) -> None:
    """Within three standard errors, at the same number of episodes in all."""
    bias, allowed, cosine = measure(gae_value, air=air, num_episodes=GROUP * 16, repeats=REPEATS // 16)

    assert bias < allowed
    assert cosine > 0.98


def test_a_cross_fitted_value_has_less_variance_than_the_other_attempts() -> None:
    """At the same number of episodes the variance is less by a fifth at least: that is what it is for."""
    _, of_loo, _ = measure(loo, air=0.2, num_episodes=GROUP * 16, repeats=60)
    _, of_value, _ = measure(gae_value, air=0.2, num_episodes=GROUP * 16, repeats=60)

    assert of_value**2 < 0.8 * of_loo**2


@pytest.mark.parametrize("air", [0.0, 0.2])
def test_a_baseline_of_those_still_playing_is_biased(air: float) -> None:
    """The negative control: by more than half of the gradient, and far beyond the error of the measurement."""
    bias, allowed, _ = measure(mt_grpo, air=air, num_episodes=GROUP, repeats=REPEATS)

    assert bias > 0.5
    assert bias > 3 * allowed


def test_what_leaving_failures_out_costs() -> None:
    """`negative` 0 keeps the direction, roughly, and no more: beyond three standard errors it is not the gradient."""

    def good_alone(game: Game, played: Played) -> np.ndarray:
        return np.maximum(gae_value(game, played), 0)

    bias, allowed, cosine = measure(good_alone, air=0.0, num_episodes=GROUP * 16, repeats=REPEATS // 16)

    assert allowed < bias < 0.6
    assert 0.9 < cosine < 0.98


def test_the_exact_gradient_is_that_of_the_expected_return() -> None:
    """The yardstick itself, against the mean return of many episodes under a policy that follows it a step."""
    game = Game()
    gradient = game.exact_gradient()
    before = game.play(200_000).rewards.sum(1)
    step = 0.5
    logits = np.log(game.policy) + step * gradient
    game.policy = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    after = game.play(200_000).rewards.sum(1)

    gained = after.mean() - before.mean()
    error = np.hypot(before.std(), after.std()) / np.sqrt(len(before))
    assert gained == pytest.approx(step * (gradient**2).sum(), abs=3 * error + 0.1 * step * (gradient**2).sum())
    assert TURNS == 6
