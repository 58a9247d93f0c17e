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
    models = [_fit([c for c in judged if _fold(c.task_id) != fold]) for fold in range(FOLDS)]
    return [_differences(course, models[fold], discount) for course, fold in zip(courses, folds, strict=True)]


def _fold(task_id: str) -> int:
    return sha256(b"progress" + task_id.encode()).digest()[0] % FOLDS


def _design(states: Sequence[Sequence[float]]) -> Floats:
    values = np.asarray(states, dtype=np.float64)
    return np.column_stack([np.ones(len(values)), values])


def _fit(courses: Sequence[Course]) -> Floats | None:
    """Fit the estimate; the constant is not shrunk. None without an episode to learn from."""
    if not courses:
        return None
    x = np.vstack([_design(course.states) for course in courses])
    y = np.concatenate([np.full(len(course.states), course.outcome) for course in courses])
    penalty = np.eye(x.shape[1]) * RIDGE
    penalty[0, 0] = 1e-9
    solution: Floats = np.linalg.solve(x.T @ x + penalty, x.T @ y)
    return solution


def _differences(course: Course, model: Floats | None, discount: float) -> list[float]:
    if model is None or not course.states:
        return [0.0] * len(course.states)
    potential = [float(value) for value in _design(course.states) @ model]
    return [discount * after - now for now, after in zip(potential, [*potential[1:], 0.0], strict=True)]
