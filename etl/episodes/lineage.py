"""Finds the next call of the same agent: the one whose question begins with this call's question and answer.

That is proof, and comes before any clock: streams end late, and the clocks of two machines differ. Where no question
continues another word for word (the agent trims or rewrites its history), the next call is the first of the same agent
that began after this one had ended, under the same agent span if there is one.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from heapq import heapify, heappop, heappush

from etl.calls.likeness import message_key
from etl.dialects.spans import LlmCall

EMPTY = 0
"""The number of the conversation that has not begun."""


def number_beginnings(calls: Iterable[LlmCall]) -> None:
    """Give a number to every beginning of every question, and to every question with each of its answers, in place.

    Messages that are alike in the same order have the same number, in whichever call. They must be as they will stay.
    """
    numbers: dict[Hashable, int] = {}
    for call in calls:
        current = EMPTY
        beginnings = [current]
        for message in call.input or ():
            current = numbers.setdefault((current, message_key(message)), len(numbers) + 1)
            beginnings.append(current)
        call.beginnings = beginnings
        call.endings = [
            numbers.setdefault((current, message_key(message)), len(numbers) + 1) for message in call.output or ()
        ]


def next_calls(calls: list[LlmCall], agent_rows: dict[int, int]) -> dict[int, LlmCall]:
    """Return the next call by row, for the calls of one episode, numbered and in order."""
    following: dict[int, LlmCall] = {}
    ends: dict[tuple[str | None, int], list[LlmCall]] = defaultdict(list)
    for call in calls:
        if call.endings:
            ends[call.agent, call.endings[call.choice]].append(call)
    for call in calls:
        for number in reversed(call.beginnings):
            earlier = _gone_on_from(call, ends.get((call.agent, number), ()), following)
            for candidate in earlier:
                following[candidate.span.index] = call
            if earlier:
                break
    _fill_by_time(calls, agent_rows, following)
    return following


def _gone_on_from(call: LlmCall, alike: Sequence[LlmCall], following: Mapping[int, LlmCall]) -> list[LlmCall]:
    """Return which of the calls with one question and answer a request goes on from.

    Those that had ended when it began; else, as streams end late and clocks differ, the one that began nearest to it.
    """
    free = [candidate for candidate in alike if candidate.span.index not in following]
    ended = [candidate for candidate in free if candidate.span.end_ns <= call.span.start_ns]
    if ended or len(free) < len(alike):
        return ended
    nearest = min(
        free, key=lambda other: (abs(other.span.start_ns - call.span.start_ns), other.span.span_id), default=None
    )
    return [nearest] if nearest is not None else []


def in_order(calls: list[LlmCall]) -> list[LlmCall]:
    """Return the numbered calls of one episode, given as they began, in the order that their requests prove.

    A request that holds another's question and answer comes after it, whatever the clocks of two machines say. Where
    nothing is proven, the order in which they began stays.
    """
    ends: dict[int, list[int]] = defaultdict(list)
    for position, call in enumerate(calls):
        for number in set(call.endings):
            ends[number].append(position)
    needs: list[int] = [0] * len(calls)
    frees: dict[int, list[int]] = defaultdict(list)
    is_disordered = False
    for position, call in enumerate(calls):
        for number in call.beginnings:
            own = ends.get(number, ())
            if not own or any(one < position for one in own):
                continue  # one that began before proves nothing against the clocks
            earlier = min(own)
            if earlier != position:
                is_disordered = True
                needs[position] += 1
                frees[earlier].append(position)
    if not is_disordered:
        return calls
    ready = [position for position, count in enumerate(needs) if not count]
    heapify(ready)
    ordered: list[LlmCall] = []
    while ready:
        position = heappop(ready)
        ordered.append(calls[position])
        for later in frees[position]:
            needs[later] -= 1
            if not needs[later]:
                heappush(ready, later)
    return ordered


def _fill_by_time(calls: list[LlmCall], agent_rows: dict[int, int], following: dict[int, LlmCall]) -> None:
    """Give the calls without a continuation the first later call of their agent, in one pass from the end."""
    lines: dict[Hashable, list[LlmCall]] = defaultdict(list)
    for call in calls:
        lines[call.agent, agent_rows[call.span.index]].append(call)
    for line in lines.values():
        position = len(line)
        by_end = sorted(line, key=lambda call: call.span.end_ns, reverse=True)
        for call in by_end:
            while position and line[position - 1].span.start_ns >= call.span.end_ns:
                position -= 1
            later = position
            if later < len(line) and line[later] is not call:
                following.setdefault(call.span.index, line[later])
