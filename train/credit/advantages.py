"""Which call earned how much: rewards of episodes and calls to one advantage a call. Pure functions over arrays.

Two streams stay apart to the end. The *outcome* belongs to the episode and reaches all of its calls. *Intermediate*
rewards belong to single calls and reach the calls that caused them: a call answers for itself and for what followed
from it, so a parallel sibling's mistake is not its own. Statistics are over episodes, never over rows: an episode does
not count double for having made twice as many calls.
"""

import numpy as np
from numpy.typing import NDArray

from train.credit.causes import NOBODY, followers, is_sequential

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

NO_SPREAD = 1e-6
"""Standard deviation below which a task's outcomes are equal but for rounding."""

MIN_SCALE = 1e-2
"""Deviation of a role's advantages below which they are not blown up further."""

MAX_ADVANTAGE = 5.0
"""Bound on an advantage after scaling by role."""


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


def causal_returns(
    rewards: Floats, *, episode: Ints, start_ns: Ints, end_ns: Ints, previous: Ints | None = None
) -> Floats:
    """Sum for each call its own reward and those of the calls of its episode that followed from it.

    Calls that overlap in time did not cause one another, and neither did calls of parallel branches, where `previous`
    says which call each agent made before (`train.credit.causes`). Calls come grouped by episode.

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
        if previous is not None and not is_sequential(start_ns[begin:stop], end_ns[begin:stop]):
            follows = _followers(begin, stop, start_ns, end_ns, previous)
            returns[begin:stop] += follows @ rewards[begin:stop]
            continue
        order = np.argsort(start_ns[begin:stop], kind="stable") + begin
        later = np.append(np.cumsum(rewards[order][::-1])[::-1], 0.0)
        first_after = np.searchsorted(start_ns[order], end_ns[begin:stop], side="left")
        # An instant call (end == start) would otherwise find itself among the later ones.
        position = np.empty(stop - begin, dtype=np.int64)
        position[order - begin] = np.arange(stop - begin)
        returns[begin:stop] += later[np.maximum(first_after, position + 1)]
    return returns


def _followers(begin: int, stop: int, start_ns: Ints, end_ns: Ints, previous: Ints) -> NDArray[np.bool_]:
    mine = previous[begin:stop]
    return followers(start_ns[begin:stop], end_ns[begin:stop], np.where(mine == NOBODY, NOBODY, mine - begin))


def bootstrapped_returns(
    rewards: Floats,
    outcomes: Floats,
    values: Floats,
    *,
    episode: Ints,
    start_ns: Ints,
    end_ns: Ints,
    lambda_: float,
    previous: Ints | None = None,
) -> Floats:
    """Return the lambda-return of each call: its reward and, of what follows, partly what came and partly its value.

    Less the value of the call itself this is generalised advantage estimation (arXiv:1506.02438 eq. 16, discount 1)
    with a call for a step. `outcomes` are of each episode; calls come grouped by episode. Where one call and all that
    follows it are what follows another, the other's return is `(1 - lambda) value + lambda return` of that one, plus
    its own reward; at a fork, where parallel calls follow, it is the plain causal return, since their returns overlap.
    With `lambda_` 1, or where no value is known (NaN), all are plain causal returns.

    >>> bootstrapped_returns(
    ...     np.array([0.0, 0.0]), np.array([1.0]), np.array([0.5, 0.6]),
    ...     episode=np.zeros(2, int), start_ns=np.array([0, 10]), end_ns=np.array([5, 15]), lambda_=0.0,
    ... )
    array([0.6, 1. ])
    """
    returns: Floats = outcomes[episode] + causal_returns(
        rewards, episode=episode, start_ns=start_ns, end_ns=end_ns, previous=previous
    )
    edges = np.flatnonzero(np.diff(episode, prepend=-1))
    for begin, stop in zip(edges, [*edges[1:], len(episode)], strict=True):
        if previous is not None and not is_sequential(start_ns[begin:stop], end_ns[begin:stop]):
            follows = _followers(begin, stop, start_ns, end_ns, previous)
            for place in np.argsort(-start_ns[begin:stop], kind="stable"):
                links = [one for one in np.flatnonzero(follows[place]) if _is_link(follows, int(place), int(one))]
                if links and np.isfinite(values[begin + links[0]]):
                    known, came = values[begin + links[0]], returns[begin + links[0]]
                    returns[begin + place] = rewards[begin + place] + (1 - lambda_) * known + lambda_ * came
            continue
        order = np.argsort(start_ns[begin:stop], kind="stable") + begin
        following = np.searchsorted(start_ns[order], end_ns[order], side="left")
        following = np.maximum(following, np.arange(1, len(order) + 1))  # an instant call does not follow itself
        for place in reversed(range(len(order))):
            after = following[place]
            is_link = after < len(order) and following[after] == after + 1
            if is_link and np.isfinite(values[order[after]]):
                known, came = values[order[after]], returns[order[after]]
                returns[order[place]] = rewards[order[place]] + (1 - lambda_) * known + lambda_ * came
    return returns


def _is_link(follows: NDArray[np.bool_], place: int, one: int) -> bool:
    """Tell whether one call and all that follows from it are what follows from another."""
    rest = follows[place].copy()
    rest[one] = False
    return bool((rest == follows[one]).all())


def moving_baseline(returns: Floats, *, role: Ints, episode: Ints, start_ns: Ints, decay: float) -> Floats:
    """Return for each call a moving average of what its role earned in earlier episodes; NaN in the role's first one.

    Role-conditioned advantage estimation (arXiv:2506.24119 §3.3): the average over the role's calls of an episode
    enters after the episode, in the order the episodes began.

    >>> moving_baseline(
    ...     np.array([1.0, 0.0, 0.0]), role=np.zeros(3, int), episode=np.arange(3), start_ns=np.arange(3), decay=0.5
    ... )
    array([nan, 1. , 0.5])
    """
    baseline = np.full(len(returns), np.nan)
    began = np.full(int(episode.max(initial=-1)) + 1, np.iinfo(np.int64).max)
    np.minimum.at(began, episode, start_ns)
    average: dict[int, float] = {}
    for one in np.lexsort((np.arange(len(began)), began)):
        mine = np.flatnonzero(episode == one)
        for each in np.unique(role[mine]):
            chosen = mine[role[mine] == each]
            before = average.get(int(each), np.nan)
            baseline[chosen] = before
            earned = float(returns[chosen].mean())
            average[int(each)] = earned if np.isnan(before) else decay * before + (1 - decay) * earned
    return baseline


def cap_intermediate(intermediate: Floats, *, episode: Ints, outcomes: Floats, share: float) -> Floats:
    """Scale down the intermediate rewards of an episode whose gains, or losses, exceed a share of the outcomes' range.

    Below one half no episode outranks one with the best outcome by what it earned on the way. Where all outcomes are
    equal there is no rank to keep, and nothing is changed.

    >>> cap_intermediate(np.array([0.6, 0.6]), episode=np.zeros(2, int), outcomes=np.array([0.0, 1.0]), share=0.3)
    array([0.15, 0.15])
    """
    limit = share * float(np.ptp(outcomes)) if len(outcomes) else 0.0
    if limit == 0:
        return intermediate
    gained = np.bincount(episode, np.maximum(intermediate, 0), minlength=len(outcomes))
    lost = np.bincount(episode, np.maximum(-intermediate, 0), minlength=len(outcomes))
    scale: Floats = np.minimum(1.0, limit / np.maximum(np.maximum(gained, lost), 1e-12))
    return intermediate * scale[episode]


def overlong_penalty(num_tokens: Ints, *, limit: int, share: float) -> Floats:
    """Return the reward of an answer's length, from 0 down to -1 (DAPO, arXiv:2503.14476 eq. 13).

    Up to `1 - share` of the limit it is 0, from there it falls evenly, and from the limit on it is -1.

    >>> overlong_penalty(np.array([50, 80, 90, 100, 300]), limit=100, share=0.2)
    array([ 0. ,  0. , -0.5, -1. , -1. ])
    """
    room = limit * (1 - share)
    penalty: Floats = np.clip((room - num_tokens) / max(limit - room, NO_SPREAD), -1.0, 0.0)
    return penalty + 0.0  # no minus zero


def gate_intermediate(intermediate: Floats, *, episode: Ints, outcomes: Floats, task: Ints) -> Floats:
    """Drop the intermediate rewards of tasks whose attempts, two at least, all ended alike.

    There they would be all there is to tell the attempts apart.
    """
    size = np.bincount(task)
    low = np.full(len(size), np.inf)
    high = np.full(len(size), -np.inf)
    np.minimum.at(low, task, outcomes)
    np.maximum.at(high, task, outcomes)
    is_tied = (size > 1) & (high - low <= NO_SPREAD)
    return np.where(is_tied[task[episode]], 0.0, intermediate)


def scale_by_role(advantages: Floats, role: Ints) -> Floats:
    """Divide by the deviation of all advantages of the role, the whole window's, and bound what is left.

    One scale for all tasks of a role: never a group's, which would make as much of a slip as of a failure.
    """
    size = np.maximum(np.bincount(role), 1)
    deviation = np.sqrt(np.bincount(role, advantages**2) / size)
    scaled: Floats = advantages / np.maximum(deviation, MIN_SCALE)[role]
    return scaled.clip(-MAX_ADVANTAGE, MAX_ADVANTAGE)


def call_advantages(
    outcomes: Floats,
    task: Ints,
    intermediate: Floats,
    *,
    episode: Ints,
    slot: Ints,
    start_ns: Ints,
    end_ns: Ints,
    previous: Ints | None = None,
    leave_one_out: bool = True,
    shrinkage: float = 0.0,
    divide_by_std: bool = False,
) -> Floats:
    """Return one advantage a call: its episode's outcome advantage plus its own intermediate advantage.

    `outcomes` and `task` are of each episode; `intermediate`, `episode`, `slot` (a number for agent and turn) and times
    are of each call. Episodes without an outcome must not be among them.
    """
    outcome = outcome_advantages(
        outcomes, task, leave_one_out=leave_one_out, shrinkage=shrinkage, divide_by_std=divide_by_std
    )
    returns = causal_returns(intermediate, episode=episode, start_ns=start_ns, end_ns=end_ns, previous=previous)
    local = center(returns, episode=episode, slot=slot, task=task, leave_one_out=leave_one_out, shrinkage=shrinkage)
    return outcome[episode] + local
