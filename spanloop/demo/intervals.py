"""How sure a difference of two policies is, where a question has several attempts and questions come in kinds."""

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

RESAMPLINGS = 4000


@dataclass(frozen=True)
class Difference:
    """A mean difference with the interval that holds it at 95 %."""

    mean: float
    low: float
    high: float

    @property
    def is_gain(self) -> bool:
        """Whether the interval lies above 0."""
        return self.low > 0


def paired_difference(
    before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]], *, measure: str = "reward", seed: int = 0
) -> Difference:
    """Return after less before, by question, with its bootstrap interval over clusters.

    Rows are attempts, with `task_id`, `cluster` and the measure; attempts that were not graded do not count. Only
    questions attempted in both count, each as much as any other. Clusters are drawn whole, since questions that share
    one are no separate observations.

    >>> rows = [{"task_id": str(i), "cluster": str(i), "reward": 0.0} for i in range(10)]
    >>> paired_difference(rows, [{**row, "reward": 1.0} for row in rows])
    Difference(mean=1.0, low=1.0, high=1.0)
    """
    old, new = _by_question(before, measure), _by_question(after, measure)
    clusters: dict[str, list[float]] = defaultdict(list)
    names = {row["task_id"]: row["cluster"] for row in before}
    for question in sorted(old.keys() & new.keys()):
        clusters[names[question]].append(new[question] - old[question])
    groups = [clusters[name] for name in sorted(clusters)]
    if not groups:
        raise ValueError("no question was attempted both before and after")
    rng = random.Random(seed)  # noqa: S311 - resampling
    means = sorted(_mean(rng.choices(groups, k=len(groups))) for _ in range(RESAMPLINGS))
    return Difference(_mean(groups), means[int(0.025 * RESAMPLINGS)], means[int(0.975 * RESAMPLINGS) - 1])


def _by_question(rows: Sequence[Mapping[str, Any]], measure: str) -> dict[str, float]:
    found: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        if row["reward"] is not None:
            value = row["reward"] if measure == "reward" else row["measures"].get(measure, 0.0)
            found[row["task_id"]].append(float(value))
    return {question: sum(values) / len(values) for question, values in found.items()}


def _mean(groups: Sequence[Sequence[float]]) -> float:
    return sum(map(sum, groups)) / sum(map(len, groups))
