"""Teacher against candidate: what was recorded beside what was replayed, with intervals over tasks, and a verdict."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from statistics import fmean, median
from typing import Any

import numpy as np

from spanloop.replay.episode import Replayed

RESAMPLINGS = 2000
LEAST_TASKS = 8
"""Fewer tasks than these say nothing, however alike they are."""


class Verdict(StrEnum):
    """What a comparison says, in the words of the gate."""

    PASSED = "passed"
    INCONCLUSIVE = "inconclusive"
    REFUSED = "refused"


@dataclass(frozen=True)
class Interval:
    """A mean and the interval around it at 95 %, by a bootstrap over whole tasks."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Side:
    """One side of the table."""

    score: Interval | None
    """Null where nothing could be scored."""

    share_whole: float
    """Of the states, replayed to the end."""

    agreement: float | None
    """Of the answers that stand beside a recorded one, those that asked the same of the same tools."""

    duration_s: float | None
    """Median of an answer."""

    prompt_tokens: float | None
    """Mean of a state, all its answers together; null where they were not counted."""

    answer_tokens: float | None
    cost: float | None
    """Mean of a state, in the currency of the prices; null without prices."""


Prices = tuple[float, float]
"""Of a million tokens of prompt, and of answer."""


@dataclass(frozen=True)
class Comparison:
    """The whole table."""

    teacher: Side
    candidate: Side
    difference: Interval | None
    """Of the scores of the states that both sides have one for, candidate less teacher."""

    num_states: int
    num_scored: int
    num_tasks: int
    ends: dict[str, int]
    """How the replays ended."""

    verdict: Verdict
    reason: str

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return asdict(self) | {"verdict": self.verdict.value}


def compare(
    recorded: Sequence[Replayed],
    replayed: Sequence[Replayed],
    scores: tuple[Sequence[float | None], Sequence[float | None]],
    *,
    seed: int = 0,
    margin: float = 0.1,
    prices: tuple[Prices | None, Prices | None] = (None, None),
) -> Comparison:
    """Compare what stands at the same places: recorded and replayed, each with its score.

    `margin` is how much less than the teacher is still as good. Tasks are drawn whole: attempts at one are no separate
    observations.
    """
    tasks = [each.state.task for each in replayed]
    both = [
        (task, before, after)
        for task, before, after in zip(tasks, *scores, strict=True)
        if before is not None and after is not None
    ]
    difference = interval([task for task, _, _ in both], [after - before for _, before, after in both], seed=seed)
    num_tasks = len({task for task, _, _ in both})
    verdict, reason = judge(difference, num_tasks, margin=margin)
    sides = [
        _side(each, tasks, own, seed=seed, prices=price)
        for each, own, price in zip((recorded, replayed), scores, prices, strict=True)
    ]
    ends = Counter(each.end.value for each in replayed)
    return Comparison(
        sides[0], sides[1], difference, len(tasks), len(both), num_tasks, dict(ends.most_common()), verdict, reason
    )


def judge(difference: Interval | None, num_tasks: int, *, margin: float) -> tuple[Verdict, str]:
    """Return what a difference means for somebody who takes up to `margin` less."""
    if difference is None or num_tasks < LEAST_TASKS:
        return Verdict.INCONCLUSIVE, f"{num_tasks} tasks with a score, {LEAST_TASKS} at least"
    told = f"{difference.mean:+.3f} in [{difference.low:+.3f}, {difference.high:+.3f}], {margin:g} less is taken"
    if difference.high < -margin:
        return Verdict.REFUSED, f"worse: {told}"
    if difference.low >= -margin:
        return Verdict.PASSED, f"as good or better: {told}"
    return Verdict.INCONCLUSIVE, f"neither is known: {told}; more tasks would tell"


def interval(tasks: Sequence[str], values: Sequence[float], *, seed: int = 0) -> Interval | None:
    """Return the mean of values with its interval at 95 % over tasks; null without values.

    >>> interval(["a", "b", "b"], [1.0, 1.0, 1.0])
    Interval(mean=1.0, low=1.0, high=1.0)
    """
    by_task: dict[str, list[float]] = defaultdict(list)
    for task, value in zip(tasks, values, strict=True):
        by_task[task].append(value)
    if not by_task:
        return None
    sums = np.array([sum(own) for own in by_task.values()])
    sizes = np.array([len(own) for own in by_task.values()])
    drawn = np.random.default_rng(seed).integers(0, len(sums), (RESAMPLINGS, len(sums)))
    means = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return Interval(float(sums.sum() / sizes.sum()), float(low), float(high))


def _side(
    replays: Sequence[Replayed],
    tasks: Sequence[str],
    scores: Sequence[float | None],
    *,
    seed: int,
    prices: Prices | None,
) -> Side:
    known = [(task, score) for task, score in zip(tasks, scores, strict=True) if score is not None]
    agreed = [each for replayed in replays for each in replayed.agreements()]
    durations = [answer.duration_s for replayed in replays for answer in replayed.answers if answer.duration_s > 0]
    counted = [
        [answer.tokens for answer in replayed.answers if answer.tokens is not None]
        for replayed in replays
        if replayed.answers and all(answer.tokens is not None for answer in replayed.answers)
    ]
    tokens = [fmean(sum(each[place] for each in own) for own in counted) if counted else None for place in (0, 1)]
    cost = None
    if prices is not None and tokens[0] is not None and tokens[1] is not None:
        cost = (tokens[0] * prices[0] + tokens[1] * prices[1]) / 1e6
    return Side(
        interval([task for task, _ in known], [score for _, score in known], seed=seed),
        sum(replayed.is_whole for replayed in replays) / max(1, len(replays)),
        fmean(agreed) if agreed else None,
        median(durations) if durations else None,
        tokens[0],
        tokens[1],
        cost,
    )
