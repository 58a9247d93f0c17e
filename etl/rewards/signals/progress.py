r"""AIR: progress towards the outcome, as a difference of potentials.

The potential of a state is an estimate of the episode's outcome from what was known in it: how many steps were taken,
how many tools had failed, how many requests did not fit or were repeated, how long the conversation is. It is a ridge
regression, fitted on other tasks than the one it judges (folds by task). The reward of step k is
:math:`\gamma\Phi(s_{k+1}) - \Phi(s_k)`, with the potential after the last step 0: in that form it leaves every policy's
order as it is (Ng, Harada and Russell 1999, theorem 1).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FOLDS = 5
MIN_EPISODES = 20
"""Below this many episodes with an outcome an estimate is noise."""

RIDGE = 1.0


@dataclass(frozen=True, slots=True)
class Course:
    """One episode as the estimate sees it: the features of each of its states, in order."""

    task_id: str
    states: Sequence[Sequence[float]]
    outcome: float | None


def progress(courses: Sequence[Course], discount: float) -> list[list[float]] | None:
    """Return the reward of each step of each episode; None where too few outcomes, or only one, are known."""
    judged = [course for course in courses if course.outcome is not None and course.states]
    if len(judged) < MIN_EPISODES or len({course.outcome for course in judged}) < 2:
        return None
    folds = [_fold(course.task_id) for course in courses]
    lengths = [len(course.states) for course in courses]
    design = _design([state for course in courses for state in course.states])
    outcomes = np.repeat([np.nan if course.outcome is None else course.outcome for course in courses], lengths)
    fold_of = np.repeat(folds, lengths)
    is_judged = ~np.isnan(outcomes)
    others = [is_judged & (fold_of != fold) for fold in range(FOLDS)]
    models = [_fit(design[rows], outcomes[rows]) for rows in others]
    ends = list(accumulate(lengths))
    return [
        _differences(design[end - length : end], models[fold], discount)
        for end, length, fold in zip(ends, lengths, folds, strict=True)
    ]


def _fold(task_id: str) -> int:
    return sha256(b"progress" + task_id.encode()).digest()[0] % FOLDS


def _design(states: Sequence[Sequence[float]]) -> Floats:
    values = np.asarray(states, dtype=np.float64)
    return np.column_stack([np.ones(len(values)), values])


def _fit(x: Floats, y: Floats) -> Floats | None:
    """Fit the estimate; the constant is not shrunk. None without a state to learn from."""
    if not len(x):
        return None
    penalty = np.eye(x.shape[1]) * RIDGE
    penalty[0, 0] = 1e-9
    return np.asarray(np.linalg.solve(x.T @ x + penalty, x.T @ y), dtype=np.float64)


def _differences(design: Floats, model: Floats | None, discount: float) -> list[float]:
    if model is None or not len(design):
        return [0.0] * len(design)
    potential = (design @ model).tolist()
    return [discount * after - now for now, after in zip(potential, [*potential[1:], 0.0], strict=True)]
