from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from serve.canary.verdict import METRICS, Observation, Tally, begin, describe, find_worse, level, may_widen, next_share
from serve.settings import CanaryConfig

SEED = 7


def canary(**settings: object):
    return begin(Path("c"), "c-1", CanaryConfig(**settings), slow_s=1.0)  # type: ignore[arg-type]


def observe(tally: Tally, arm: str, metric: str, mean: float, num: int) -> None:
    values = (np.random.default_rng(SEED).random(num) < mean).astype(float).tolist()
    tally.add(Observation(arm, metric, value) for value in values)  # type: ignore[arg-type]


def test_shares_follow_one_another_to_all() -> None:
    """From the first that is asked for, through those above it, to 1."""
    assert [next_share(canary()), canary().share] == [0.05, 0.01]
    started = canary(share=0.1)
    assert (started.share, started.shares, next_share(started)) == (0.1, (0.1, 0.25), 0.25)
    assert next_share(started.model_copy(update={"share": 0.25})) == 1.0
    with pytest.raises(ValidationError):
        CanaryConfig(shares=(0.5, 0.1))
    with pytest.raises(ValidationError):
        CanaryConfig(reward_low=1, reward_high=1)


@pytest.mark.parametrize("metric", METRICS)
def test_each_metric_can_condemn(metric: str) -> None:
    """Worse means less reward, or more of anything else; the reason names it; better condemns nothing."""
    better, worse = (0.9, 0.5) if metric == "reward" else (0.05, 0.5)
    bad, good = Tally(), Tally()
    observe(bad, "canary", metric, worse, 200)
    observe(bad, "live", metric, better, 600)
    observe(good, "canary", metric, better, 200)
    observe(good, "live", metric, worse, 600)

    found = find_worse(bad, canary())

    assert found is not None
    assert found.startswith(metric)
    assert find_worse(good, canary()) is None


def test_the_share_grows_when_both_arms_were_seen_enough() -> None:
    """By the reward, which comes last; by errors where no reward is looked at; never while it is told to hold."""
    tally = Tally()
    observe(tally, "live", "reward", 0.5, 100)
    observe(tally, "canary", "reward", 0.5, 29)
    assert not may_widen(tally, canary(units=30))
    observe(tally, "canary", "reward", 0.5, 1)
    assert may_widen(tally, canary(units=30))
    assert not may_widen(tally, canary(units=30, hold=True))
    assert not may_widen(tally, canary(units=30, reward=""))


def test_with_a_margin_the_last_step_wants_proof() -> None:
    """Not worse is not enough for all calls; what is worse by the margin is not let through, one as good soon is."""
    few, many, worse = Tally(), Tally(), Tally()
    for tally, num, mean in ((few, 40, 0.6), (many, 2000, 0.6), (worse, 2000, 0.48)):
        observe(tally, "live", "reward", 0.6, num)
        observe(tally, "canary", "reward", mean, num)
    first = canary(units=30, margin=0.1)
    last = first.model_copy(update={"share": 0.25})

    assert may_widen(few, first)
    assert [may_widen(tally, last) for tally in (few, many, worse)] == [False, True, False]
    assert may_widen(few, last.model_copy(update={"margin": None}))
    with pytest.raises(ValidationError):
        CanaryConfig(margin=0.1, reward="")


def test_false_alarms_are_shared_out_over_every_look_there_is() -> None:
    """The levels of all metrics at all shares sum to that of the canary."""
    one = canary(alpha=0.05)

    assert level(one) * len(METRICS) * len(one.shares) == pytest.approx(0.05)


def test_status_shows_counts_means_and_interval() -> None:
    """Before anything is known the interval is everything, and no mean is shown."""
    tally = Tally()
    assert describe(tally, canary())["reward"] == {
        "canary": None, "live": None, "num_canary": 0, "num_live": 0, "difference_low": -1.0, "difference_high": 1.0
    }  # fmt: skip
    observe(tally, "canary", "reward", 0.5, 300)
    observe(tally, "live", "reward", 0.5, 300)
    found = describe(tally, canary())["reward"]
    assert -0.4 < found["difference_low"] < 0 < found["difference_high"] < 0.4
    assert (found["num_canary"], found["num_live"]) == (300, 300)
