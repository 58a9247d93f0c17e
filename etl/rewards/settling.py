"""Decides which rewards count, once they are placed.

A score named as configured (default `outcome`) says how what it was given to ended; given to an episode as a whole, the
only name does. One that was given to a session is the outcome of each of its episodes that has none of its own. Any
other score of a call is a reward of that call, and of an agent's run of the run's last call. Two scores of one name for
one thing: the later one is a correction of the earlier; equal ones are duplicates. Every score is kept with the reason
it was used or not.
"""

from collections import defaultdict
from collections.abc import Collection, Container, Iterable, Mapping
from math import fsum
from typing import Any

from etl.rewards.given import Level, Reason, Reward
from etl.rewards.placing import Ground


def drop_unusable(rewards: Iterable[Reward], allowed: Mapping[str, Collection[str]]) -> None:
    """Set aside, in place, rewards of sources that do not count, and all but the latest of one name for one thing.

    At one instant the larger counts, so order never matters.
    """
    by_target: dict[tuple[Any, ...], list[Reward]] = defaultdict(list)
    for reward in rewards:
        if reward.source not in allowed.get(reward.project, (reward.source,)):
            reward.reason = Reason.NOT_ALLOWED
        if reward.reason is None:
            by_target[_target(reward)].append(reward)
    for same in by_target.values():
        same.sort(key=lambda reward: (reward.time_ns, reward.value, reward.source, reward.span_id or ""))
        for reward in same[:-1]:
            reward.reason = Reason.DUPLICATE if reward.value == same[-1].value else Reason.SUPERSEDED


def _target(reward: Reward) -> tuple[Any, ...]:
    if reward.level in {Level.CALL, Level.RUN}:
        return (*(call.span.index for call in reward.calls), reward.name)
    whole = reward.session_id if reward.level == Level.SESSION else None
    return (reward.project, reward.episode, whole, reward.name)


def settle(
    rewards: Iterable[Reward], ground: Ground, apart: Container[int], outcome: str
) -> tuple[list[float | None], dict[int, float]]:
    """Decide which rewards count, in place; return the outcome of every episode and the step rewards by call row.

    `apart` are the rows of calls that are no transitions, so that nothing can be a reward of theirs.
    """
    by_episode: dict[int, list[Reward]] = defaultdict(list)
    of_sessions: dict[tuple[str, str], list[Reward]] = defaultdict(list)
    for reward in rewards:
        if reward.reason is not None:
            continue
        if reward.level == Level.SESSION:
            of_sessions[reward.project, reward.session_id or ""].append(reward)
        elif reward.episode is not None:
            by_episode[reward.episode].append(reward)
    outcomes: list[float | None] = [None] * len(ground.episodes)
    given: dict[int, list[float]] = defaultdict(list)
    for number, own in by_episode.items():
        last = _outcome_of(own, outcome)
        for reward in own:
            call = next((call for call in reversed(reward.calls) if call.span.index not in apart), None)
            if reward is last:
                reward.reason, outcomes[number] = Reason.OUTCOME, reward.value
            elif reward.level == Level.EPISODE:
                reward.reason = Reason.NOT_THE_OUTCOME
            elif call is None:
                reward.reason = Reason.NOT_A_TRANSITION
            else:
                assert reward.value is not None
                reward.reason = Reason.STEP
                given[call.span.index].append(reward.value)
    for own in of_sessions.values():
        _settle_session(own, ground, outcome, outcomes)
    return outcomes, {row: fsum(values) for row, values in given.items()}  # the same sum in any order


def _outcome_of(rewards: list[Reward], configured: str) -> Reward | None:
    """Return the reward that says how an episode ended: one of the whole, else the last part's that is named so."""
    whole = [reward for reward in rewards if reward.level == Level.EPISODE]
    names = {reward.name for reward in whole}
    name = configured if configured in names or len(names) != 1 else next(iter(names))
    found = [reward for reward in whole if reward.name == name]
    parts = [reward for reward in rewards if reward.level != Level.EPISODE and reward.name == configured]
    if parts and name != configured:  # what is named as configured goes before the only name
        found = []
    return max(found or parts, key=_end, default=None)


def _end(reward: Reward) -> tuple[Any, ...]:
    """Return when what a reward was given to ended, to order the parts of an episode by."""
    call = reward.call
    return (0, "") if call is None else (call.span.end_ns, call.span.span_id)


def _settle_session(rewards: list[Reward], ground: Ground, configured: str, outcomes: list[float | None]) -> None:
    names = {reward.name for reward in rewards}
    name = configured if configured in names or len(names) != 1 else next(iter(names))
    for reward in rewards:
        if reward.name != name:
            reward.reason = Reason.NOT_THE_OUTCOME
            continue
        open_ = [number for number in ground.episodes_of(reward) if outcomes[number] is None]
        reward.reason = Reason.OUTCOME if open_ else Reason.NOT_THE_OUTCOME
        for number in open_:
            outcomes[number] = reward.value
