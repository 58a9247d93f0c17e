"""Divides an episode whose turns were rated: three ratings of three turns in one trace are three outcomes.

A turn is an agent's run, or what led up to a call, that was given a score by the name of the outcome; where agents'
runs alone were scored, all by one name, and together they are the whole episode, that name is it. Only what comes one
after the other is divided: what agents do at the same time, or one for the other, is one attempt. So is whatever its
spans say is one, and an episode that was scored as a whole.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise

from etl.calls.tree import Forest
from etl.dialects.spans import LlmCall
from etl.episodes.grouping import Episode
from etl.rewards.given import Level, Reward


def rated_turns(
    rewards: Iterable[Reward],
    calls: Iterable[LlmCall],
    episodes: Sequence[Episode],
    episode_of: Sequence[int],
    forest: Forest,
    starts: Sequence[int],
    outcome: str,
) -> dict[int, str]:
    """Return, by row, the ids of the episodes that rows of rated turns are in.

    `rewards` are placed; `calls` are those of agents; `starts` when every row's span began. A turn's episode is named
    by the episode it was in and the span that was rated.
    """
    by_episode: dict[int, list[Reward]] = defaultdict(list)
    for reward in rewards:
        if reward.reason is None and reward.episode is not None and reward.level != Level.SESSION:
            by_episode[reward.episode].append(reward)
    num_calls: dict[int, int] = defaultdict(int)
    for call in calls:
        num_calls[episode_of[call.span.index]] += 1
    found: dict[int, str] = {}
    for number, own in by_episode.items():
        if not episodes[number].is_named:
            turns = _turns(own, num_calls[number], outcome)
            found |= _rows(turns, episodes[number], forest, starts) if turns else {}
    return found


def _turns(rewards: list[Reward], num_calls: int, outcome: str) -> list[Reward]:
    """Return the rewards of an episode's turns, in order; none where it is to stay whole."""
    parts = [reward for reward in rewards if reward.level in {Level.CALL, Level.RUN}]
    rated = [reward for reward in parts if reward.name == outcome]
    if not rated and len({reward.name for reward in parts}) == 1 and all(r.level == Level.RUN for r in parts):
        is_covered = sum(len(reward.calls) for reward in parts) == num_calls
        rated = parts if is_covered else []
    whole = {reward.name for reward in rewards if reward.level == Level.EPISODE}
    if len(rated) < 2 or outcome in whole or (whole and rated[0].name != outcome):
        return []
    rated.sort(key=lambda reward: (_begin(reward), reward.calls[0].span.span_id))
    in_turn = all(_begin(before) < _begin(after) and _end(before) <= _begin(after) for before, after in pairwise(rated))
    return rated if in_turn else []


def _begin(reward: Reward) -> int:
    return reward.calls[0].span.start_ns


def _end(reward: Reward) -> int:
    return max(call.span.end_ns for call in reward.calls)


def _rows(turns: list[Reward], episode: Episode, forest: Forest, starts: Sequence[int]) -> dict[int, str]:
    """Give every row the turn it is a call of or in whose span it is, else the first that ended when it began or later.

    Clocks are coarse: a turn may begin in the tick in which the one before it ended.
    """
    ids = [f"{episode.key[1]}/{_rated_span(turn)}" for turn in turns]
    own = {call.span.index: i for i, turn in enumerate(turns) for call in turn.calls}
    found: dict[int, str] = {}
    for row in episode.rows:
        inside = own.get(row, next((i for i, turn in enumerate(turns) if _is_inside(row, turn, forest)), None))
        later = next((i for i, turn in enumerate(turns) if starts[row] <= _end(turn)), None)
        place = inside if inside is not None else later
        if place is not None:
            found[row] = ids[place]
    return found


def _is_inside(row: int, turn: Reward, forest: Forest) -> bool:
    is_run = turn.level == Level.RUN and turn.judged is not None
    return is_run and (row == turn.judged or forest.is_ancestor(turn.judged or 0, row))


def _rated_span(turn: Reward) -> str:
    return turn.calls[-1].span.span_id if turn.level == Level.CALL else turn.span_id or turn.calls[0].span.span_id
