"""Finds the next call of the same agent: the one whose question begins with this call's question and answer.

Where no question continues another word for word (the agent trims or rewrites its history), the next call is the first
of the same agent that began after this one had ended, under the same agent span if there is one.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterable

from etl.calls.merge import message_key
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
    """Return the next call by row, for the calls of one episode, numbered and in the order they began."""
    following: dict[int, LlmCall] = {}
    ends: dict[tuple[str | None, int], list[LlmCall]] = defaultdict(list)
    for call in calls:
        for number in reversed(call.beginnings):
            earlier = [
                candidate
                for candidate in ends.get((call.agent, number), ())
                if candidate.span.end_ns <= call.span.start_ns and candidate.span.index not in following
            ]
            if earlier:
                for candidate in earlier:
                    following[candidate.span.index] = call
                break
        for number in call.endings:
            ends[call.agent, number].append(call)
    _fill_by_time(calls, agent_rows, following)
    return following


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
