"""Which call earned how much: rewards of episodes and calls to one advantage a call. Pure functions over arrays.

Two streams stay apart to the end. The *outcome* belongs to the episode and reaches all of its calls. *Intermediate*
rewards belong to single calls and reach the calls that caused them: a call answers for itself and for what began after
it ended, so a parallel sibling's mistake is not its own. Statistics are over episodes, never over rows: an episode does
not count double for having made twice as many calls.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

NO_SPREAD = 1e-6
"""Standard deviation below which a task's outcomes are equal but for rounding."""


def center(
    values: Floats, *, episode: Ints, slot: Ints, task: Ints, leave_one_out: bool = True, shrinkage: float = 0.0
) -> Floats:
    """Subtract from each value what the other episodes of its task got in the same slot.

    A slot is what makes two values comparable, such as "second call of the planner"; an episode has at most one value
    in each, and one that has none counts as 0 there: it earned nothing more (the zero-padded baseline, unbiased because
    it does not depend on the episode's own length). `episode` and `slot` are of each value, `task` of each
    episode.

    With `leave_one_out` the baseline is the mean over the other episodes of the task; else over all of them, the plain
    group mean. `shrinkage` mixes in the mean over all other tasks, with the weight of that many episodes. Where there
    is nothing to compare with, the result is 0: an uncompared reward is no advantage.

    >>> center(np.array([1.0, 0.0, 0.0]), episode=np.arange(3), slot=np.zeros(3, int), task=np.zeros(3, int))
    array([ 1. , -0.5, -0.5])
    """
    if not len(values):
        return values
    task_size = np.bincount(task).astype(np.float64)
    num_slots = int(slot.max()) + 1
    cell = task[episode] * num_slots + slot
    cell_sum = np.bincount(cell, values, minlength=len(task_size) * num_slots)[cell]
    size = task_size[task[episode]]
    if leave_one_out:
        peers, peer_sum = size - 1, cell_sum - values
    else:
        peers, peer_sum = np.where(size > 1, size, 0), cell_sum
    others = len(task) - size
    other_mean = (np.bincount(slot, values)[slot] - cell_sum) / np.maximum(others, 1)
    prior = np.where(others > 0, shrinkage, 0.0)
    weight = peers + prior
    baseline = (np.where(peers > 0, peer_sum, 0.0) + prior * other_mean) / np.maximum(weight, 1e-12)
    return np.where(weight > 0, values - baseline, 0.0)


def outcome_advantages(
    outcomes: Floats,
    task: Ints,
    *,
    leave_one_out: bool = True,
    shrinkage: float = 0.0,
    divide_by_std: bool = False,
) -> Floats:
    """Return one advantage an episode: its outcome against the outcomes of the other episodes of its task.

    `divide_by_std` divides by the sample standard deviation of the task's outcomes (GRPO, arXiv:2402.03300 eq. 21);
    where they are all equal the advantage is 0.

    >>> outcome_advantages(np.array([1.0, 1.0, 0.0, 0.0]), np.zeros(4, int), leave_one_out=False, divide_by_std=True)
    array([ 0.8660254,  0.8660254, -0.8660254, -0.8660254])
    """
    episode = np.arange(len(outcomes))
    advantages = center(
        outcomes,
        episode=episode,
        slot=np.zeros(len(outcomes), dtype=np.int64),
        task=task,
        leave_one_out=leave_one_out,
        shrinkage=shrinkage,
    )
    if not divide_by_std or not len(outcomes):
        return advantages
    size = np.bincount(task)
    mean = np.bincount(task, outcomes) / size
    variance = np.bincount(task, (outcomes - mean[task]) ** 2) / np.maximum(size - 1, 1)
    std = np.sqrt(variance)[task]
    return np.where(std > NO_SPREAD, advantages / np.maximum(std, NO_SPREAD), 0.0)


def causal_returns(rewards: Floats, *, episode: Ints, start_ns: Ints, end_ns: Ints) -> Floats:
    """Sum for each call its own reward and those of the calls of its episode that began after it ended.

    Calls that overlap in time did not cause one another. Calls come grouped by episode.

    >>> causal_returns(
    ...     np.array([0.0, -0.1, -0.2]),
    ...     episode=np.zeros(3, int), start_ns=np.array([0, 10, 10]), end_ns=np.array([9, 20, 30]),
    ... )
    array([-0.3, -0.1, -0.2])
    """
    returns = rewards.copy()
    edges = np.flatnonzero(np.diff(episode, prepend=-1))
    for begin, stop in zip(edges, [*edges[1:], len(episode)], strict=True):
        if not rewards[begin:stop].any():
            continue
        order = np.argsort(start_ns[begin:stop], kind="stable") + begin
        later = np.append(np.cumsum(rewards[order][::-1])[::-1], 0.0)
        first_after = np.searchsorted(start_ns[order], end_ns[begin:stop], side="left")
        # An instant call (end == start) would otherwise find itself among the later ones.
        position = np.empty(stop - begin, dtype=np.int64)
        position[order - begin] = np.arange(stop - begin)
        returns[begin:stop] += later[np.maximum(first_after, position + 1)]
    return returns


def call_advantages(
    outcomes: Floats,
    task: Ints,
    intermediate: Floats,
    *,
    episode: Ints,
    slot: Ints,
    start_ns: Ints,
    end_ns: Ints,
    leave_one_out: bool = True,
    shrinkage: float = 0.0,
    divide_by_std: bool = False,
    intermediate_weight: float = 1.0,
) -> Floats:
    """Return one advantage a call: its episode's outcome advantage plus its own intermediate advantage.

    `outcomes` and `task` are of each episode; `intermediate`, `episode`, `slot` (a number for agent and turn) and times
    are of each call. Episodes without an outcome must not be among them.
    """
    outcome = outcome_advantages(
        outcomes, task, leave_one_out=leave_one_out, shrinkage=shrinkage, divide_by_std=divide_by_std
    )
    returns = causal_returns(intermediate, episode=episode, start_ns=start_ns, end_ns=end_ns)
    local = center(returns, episode=episode, slot=slot, task=task, leave_one_out=leave_one_out, shrinkage=shrinkage)
    return outcome[episode] + intermediate_weight * local
