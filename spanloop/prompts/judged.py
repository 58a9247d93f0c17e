"""Whether a prompt is better: both replayed on the same states, which no proposal was made from, task by task."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from spanloop.replay.comparison import LEAST_TASKS, Interval, interval
from spanloop.replay.trial import Trial

PERMUTATIONS = 20_000


@dataclass(frozen=True)
class Judged:
    """What the comparison says."""

    difference: Interval | None
    """Of the scores, the proposal's less the live one's; null where nothing could be compared."""

    p_value: float | None
    """Chance of a difference as large for a prompt that is no better."""

    before: float | None
    after: float | None
    num_tasks: int
    is_better: bool
    reason: str

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return asdict(self)


def judge(before: Trial, after: Trial, *, level: float, seed: int = 0) -> Judged:
    """Compare two trials of the same states; states that either has no score for are left out."""
    both = [
        (task, one, other)
        for task, one, other in zip(before.tasks, before.scores, after.scores, strict=True)
        if one is not None and other is not None
    ]
    tasks = [task for task, _, _ in both]
    gains = [other - one for _, one, other in both]
    difference = interval(tasks, gains, seed=seed)
    num_tasks = len(set(tasks))
    if difference is None or num_tasks < LEAST_TASKS:
        reason = f"{num_tasks} tasks with a score under both, {LEAST_TASKS} at least"
        return Judged(difference, None, None, None, num_tasks, is_better=False, reason=reason)
    p_value = sign_flip(tasks, gains, seed=seed)
    is_better = difference.mean > 0 and p_value < level
    told = f"{difference.mean:+.3f} in [{difference.low:+.3f}, {difference.high:+.3f}], p = {p_value:.2g}"
    return Judged(
        difference,
        p_value,
        sum(one for _, one, _ in both) / len(both),
        sum(other for _, _, other in both) / len(both),
        num_tasks,
        is_better=is_better,
        reason=f"better: {told}" if is_better else f"not known to be better: {told}, {level:g} at most",
    )


def sign_flip(tasks: Sequence[str], gains: Sequence[float], *, seed: int = 0) -> float:
    """Return the one-sided p-value of gains that might as well be losses, task by task.

    Under a prompt that is no better, before and after could change places in every task; how often the mean would then
    be as high is the p-value (Fisher's randomization test, by drawn signs).

    >>> sign_flip(["a", "b"], [0.0, 0.0])
    1.0
    """
    by_task: dict[str, list[float]] = defaultdict(list)
    for task, gain in zip(tasks, gains, strict=True):
        by_task[task].append(gain)
    sums = np.array([sum(own) for own in by_task.values()])
    signs = np.random.default_rng(seed).choice((-1.0, 1.0), (PERMUTATIONS, len(sums)))
    as_high = int((signs @ sums >= sums.sum() - 1e-9).sum())
    return (1 + as_high) / (1 + PERMUTATIONS)
