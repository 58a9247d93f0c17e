"""What a canary is judged by: the same traffic, split at random, compared by a test that may be looked at any time.

A unit is what was given to one arm as a whole: a user, else an episode, else a trace. It counts once for each metric,
however many calls it makes, because calls of one unit are alike. All metrics are means of values in [0, 1]. Only what
began since the canary got its present share is compared, so that both arms saw the same hours.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from serve.canary.sequential import Source, bounds, evidence_below
from serve.gateway.assignment import CANARY, LIVE, Arm
from serve.schema import Canary
from serve.settings import CanaryConfig

Metric = Literal["reward", "errors", "unparsed", "slow"]

METRICS: tuple[Metric, ...] = ("reward", "errors", "unparsed", "slow")
"""reward: more is better. errors: share of calls the engine failed. unparsed: share of answers with a tool call nobody
could read. slow: share of calls that took longer than nearly all did before."""


@dataclass(frozen=True)
class Observation:
    """What one unit was worth in one metric."""

    arm: Arm
    metric: Metric
    value: float


class Tally:
    """Everything observed since the canary got its share."""

    def __init__(self) -> None:
        self._sources = {(arm, metric): Source() for arm in (LIVE, CANARY) for metric in METRICS}

    def add(self, observations: Iterable[Observation]) -> None:
        """Take in observations, each of another unit or another metric."""
        values: dict[tuple[Arm, Metric], list[float]] = {}
        for observation in observations:
            values.setdefault((observation.arm, observation.metric), []).append(observation.value)
        for key, group in values.items():
            self._sources[key].add(group)

    def source(self, arm: Arm, metric: Metric) -> Source:
        """Return the observations of one metric with one arm."""
        return self._sources[arm, metric]

    def num_units(self, canary: Canary) -> int:
        """Return how many units were observed in the arm that has fewer, by the metric that takes longest to come."""
        metric: Metric = "errors" if canary.reward is None else "reward"
        return min(self._sources[arm, metric].num for arm in (LIVE, CANARY))


def level(canary: Canary) -> float:
    """Return the level of one test: the canary's own, shared by every metric at every share."""
    return canary.alpha / (len(METRICS) * len(canary.shares))


def find_worse(tally: Tally, canary: Canary) -> str | None:
    """Return what the canary is significantly worse in, and by how much; None when it is worse in nothing."""
    enough = -math.log(level(canary))
    for metric in METRICS:
        mine, theirs = tally.source(CANARY, metric), tally.source(LIVE, metric)
        good, bad = (mine, theirs) if metric == "reward" else (theirs, mine)
        if evidence_below(good, bad) >= enough:
            low, high = bounds(mine, theirs, level(canary))
            return (
                f"{metric} {mine.mean:.3f} against {theirs.mean:.3f} "
                f"(difference between {low:+.3f} and {high:+.3f}, {mine.num} and {theirs.num} units)"
            )
    return None


def next_share(canary: Canary) -> float:
    """Return the share that follows the present one, 1 after the last."""
    return next((share for share in canary.shares if share > canary.share), 1.0)


def may_widen(tally: Tally, canary: Canary) -> bool:
    """Tell whether enough units were observed for a larger share, and for all calls also that it is not inferior."""
    if canary.hold or tally.num_units(canary) < canary.units:
        return False
    return next_share(canary) < 1 or is_within_margin(tally, canary)


def is_within_margin(tally: Tally, canary: Canary) -> bool:
    """Tell whether the canary is known to earn no less than its margin below the live model; yes where it has none.

    One test, at the level of the whole canary: that of being worse guards the live model, this one the claim.
    """
    if canary.margin is None:
        return True
    mine, theirs = tally.source(CANARY, "reward"), tally.source(LIVE, "reward")
    return evidence_below(theirs, mine, shift=canary.margin) >= -math.log(canary.alpha)


def describe(tally: Tally, canary: Canary) -> dict[str, dict[str, Any]]:
    """Return what `status` shows of each metric: counts, means and the interval of their difference."""
    found: dict[str, dict[str, Any]] = {}
    for metric in METRICS:
        mine, theirs = tally.source(CANARY, metric), tally.source(LIVE, metric)
        low, high = bounds(mine, theirs, level(canary))
        found[metric] = {
            "canary": None if math.isnan(mine.mean) else mine.mean,
            "live": None if math.isnan(theirs.mean) else theirs.mean,
            "num_canary": mine.num,
            "num_live": theirs.num,
            "difference_low": low,
            "difference_high": high,
        }
    return found


def begin(checkpoint: Path, version: str, config: CanaryConfig, *, slow_s: float | None) -> Canary:
    """Return a canary at its first share: `share` where one is given, then those of `shares` above it."""
    first = config.share
    shares = config.shares if first is None else (first, *(share for share in config.shares if share > first))
    now = datetime.now(UTC).isoformat()
    return Canary(
        checkpoint=str(checkpoint),
        version=version,
        share=shares[0],
        shares=shares,
        hold=config.hold,
        alpha=config.alpha,
        units=config.units,
        reward=config.reward or None,
        reward_low=config.reward_low,
        reward_high=config.reward_high,
        margin=config.margin,
        slow_s=slow_s,
        started_time=now,
        share_time=now,
    )
