"""What a call could expect before it acted: a value fitted on other tasks, from what was known at that moment.

Cross-fitted ridge regression. Calls are dealt to folds by task, and the value of a call comes from a model fitted on
the other folds: nobody's own outcome is in their baseline. Few tasks are dealt by episode instead. Needs no groups.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from train.data.logged import Call

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FOLDS = 5
MIN_TASKS = 2 * FOLDS
"""Below this many tasks, folds are of episodes."""

PENALTIES = (1.0, 10.0, 100.0, 1000.0, 10000.0)
"""Ridge penalties to choose from, in rows: the one that predicts the other folds' returns best is taken."""

MAX_TURN = 7
"""Later turns of a role share one feature."""

BUCKETS = 64
"""Features for the tokens of a prompt, by a hash of their ids; as many again for the last of them."""

RECENT = 32
"""Tokens at the end of a prompt that are counted apart: what the model was answered last."""

NEVER_SINGULAR = 1e-6
"""Added to the penalty of every feature: one that is constant in some folds has no variance there."""


@dataclass(frozen=True)
class Values:
    """Values before every call."""

    values: Floats

    explained: float
    """Share of the variance of the returns that they explain, out of fold; negative when they are worse than a mean."""


def call_features(calls: list[Call], intermediate: Floats, episode: Ints) -> Floats:
    """Return what was known before each call acted, one row a call.

    Role and turn, rewards on the way so far and how many calls earned them, length and hashed token ids of the prompt.
    `episode` is of each call; calls come in the order they began.
    """
    names = [(call.agent, min(call.turn, MAX_TURN)) for call in calls]
    slots = {name: number for number, name in enumerate(dict.fromkeys(names))}
    slot = np.eye(len(slots))[[slots[name] for name in names]]
    columns = [
        slot,
        earned_before(calls, intermediate, episode),
        np.log1p([[float(len(call.prompt_ids))] for call in calls]),
        np.array([_bag(call.prompt_ids) for call in calls]),
        np.array([_bag(call.prompt_ids[-RECENT:]) for call in calls]),
    ]
    features: Floats = np.concatenate(columns, axis=1)
    return features


def earned_before(calls: list[Call], intermediate: Floats, episode: Ints) -> Floats:
    """Return gains, losses and log of the number of the calls of the episode that had ended when each call began.

    What a parallel sibling earned is not among them.
    """
    found = np.zeros((len(calls), 3))
    by_episode: dict[int, list[int]] = {}
    for index, one in enumerate(episode.tolist()):
        by_episode.setdefault(one, []).append(index)
    for indices in by_episode.values():
        begin = np.array([calls[index].start_ns for index in indices])
        end = np.array([calls[index].end_ns for index in indices])
        earned = intermediate[indices]
        # Also earlier in order: an instant call is not before itself.
        is_before = np.tril(end[None, :] <= begin[:, None], -1)  # (call, earlier call)
        counted = np.stack([np.maximum(earned, 0), np.minimum(earned, 0), np.ones(len(earned))], axis=1)
        found[indices] = is_before @ counted
    found[:, 2] = np.log1p(found[:, 2])
    return found


def _bag(ids: Ints) -> Floats:
    # Fibonacci hashing: neighbours in a vocabulary are often kin, and should not share a bucket by that alone.
    bucket = (ids.astype(np.uint64) * np.uint64(11400714819323198485)) >> np.uint64(58)
    return np.log1p(np.bincount(bucket.astype(np.int64), minlength=BUCKETS))


def folds_are_tasks(task: Ints) -> bool:
    """Tell whether there are enough tasks to deal folds of them."""
    return len(np.unique(task)) >= MIN_TASKS


def deal_folds(task: Ints, episode: Ints) -> Ints:
    """Return the fold of each call: of its task, or, where tasks are few, of its episode; -1 where there is but one."""
    groups = task if folds_are_tasks(task) else episode
    found, index = np.unique(groups, return_inverse=True)
    order = np.random.default_rng(0).permutation(len(found))
    return order[index] % FOLDS if len(found) > 1 else np.full(len(task), -1)


def cross_fit(features: Floats, returns: Floats, fold: Ints) -> Values:
    """Predict the returns of each fold from the others, by ridge regression with an intercept, within their range.

    The penalty for a fold is chosen by how well the remaining folds predict one another, so that fold has no say in it.
    """
    rows = np.concatenate([np.ones((len(features), 1)), features], axis=1)  # (call, 1 + feature)
    folds = np.unique(fold[fold >= 0])
    values = np.full(len(returns), np.nan)
    grams = {one: rows[fold == one].T @ rows[fold == one] for one in folds}
    moments = {one: rows[fold == one].T @ returns[fold == one] for one in folds}
    for held in folds:
        others = [one for one in folds if one != held]
        penalty = _choose_penalty(rows, returns, fold, others, grams, moments)
        elsewhere = returns[fold != held]
        # A line runs on beyond what can be earned; below it every failure would look like a small success.
        fitted = rows[fold == held] @ _solve(others, grams, moments, penalty)
        values[fold == held] = fitted.clip(elsewhere.min(), elsewhere.max())
    known = np.isfinite(values)
    spread = float(((returns[known] - returns[known].mean()) ** 2).sum()) if known.any() else 0.0
    missed = float(((returns[known] - values[known]) ** 2).sum())
    return Values(values, 1 - missed / spread if spread > 0 else 0.0)


def add_other_attempts(values: Floats, returns: Floats, *, task: Ints, episode: Ints, prior: float) -> Floats:
    """Add to each value how the other attempts at its task went beyond theirs, their mean shrunk by `prior` attempts.

    All arrays are of each call. As a feature of the regression it would tell an outcome where attempts were chosen by
    outcome, one good and one bad a task: there the other's is the opposite of one's own.

    >>> add_other_attempts(
    ...     np.array([0.5, 0.5]), np.array([1.0, 0.0]), task=np.zeros(2, int), episode=np.arange(2), prior=4.0
    ... )
    array([0.4, 0.6])
    """
    of_episode, index = np.unique(episode, return_index=True)
    own = np.zeros(int(of_episode.max(initial=-1)) + 1)
    surprise = np.bincount(episode, np.nan_to_num(returns - values)) / np.maximum(np.bincount(episode), 1)
    own[of_episode] = surprise[of_episode]
    task_of = np.zeros(len(own), dtype=np.int64)
    task_of[of_episode] = task[index]
    others = np.bincount(task_of[of_episode], minlength=int(task.max(initial=-1)) + 1) - 1.0
    total = np.bincount(task_of[of_episode], own[of_episode], minlength=len(others))
    gone_beyond: Floats = (total[task] - own[episode]) / np.maximum(others[task] + prior, 1e-12)
    return values + gone_beyond


def _choose_penalty(
    rows: Floats, returns: Floats, fold: Ints, others: list[int], grams: dict[int, Floats], moments: dict[int, Floats]
) -> float:
    if len(others) < 2:
        return PENALTIES[-1]
    errors = []
    for penalty in PENALTIES:
        error = 0.0
        for held in others:
            fitted = _solve([one for one in others if one != held], grams, moments, penalty)
            error += float(((returns[fold == held] - rows[fold == held] @ fitted) ** 2).sum())
        errors.append(error)
    return PENALTIES[int(np.argmin(errors))]


def _solve(folds: list[int], grams: dict[int, Floats], moments: dict[int, Floats], penalty: float) -> Floats:
    gram: Floats = sum((grams[one] for one in folds), np.zeros_like(next(iter(grams.values()))))
    moment: Floats = sum((moments[one] for one in folds), np.zeros(len(gram)))
    # The penalty of a feature in proportion to its variance, as if it were standardised; the intercept is free.
    variance = np.maximum(np.diag(gram) / gram[0, 0] - (gram[0] / gram[0, 0]) ** 2, 0)
    return np.linalg.solve(gram + np.diag(penalty * variance + NEVER_SINGULAR), moment)
