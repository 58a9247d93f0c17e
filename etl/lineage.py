"""Finds the next call of the same agent: the one whose question begins with this call's question and answer.

Where no question continues another word for word (the agent trims or rewrites its history), the next call is the first
of the same agent that began after this one had ended, under the same agent span if there is one.
"""

from collections import defaultdict
from collections.abc import Hashable
from hashlib import blake2b

import orjson

from etl.dialects.spans import LlmCall, Message
from etl.merge import message_signature

Digest = bytes


def extend(digest: Digest, message: Message) -> Digest:
    """Return the digest of messages with one more at their end."""
    return blake2b(digest + orjson.dumps(message_signature(message), default=str), digest_size=16).digest()


def digests(call: LlmCall) -> list[Digest]:
    """Return the digest of every beginning of a call's question, the empty one first.

    Computed once a call, so its messages must be as they will stay.
    """
    if call.digests is None:
        call.digests = [b""]
        for message in call.input or ():
            call.digests.append(extend(call.digests[-1], message))
    return call.digests


def next_calls(calls: list[LlmCall], agent_rows: dict[int, int]) -> dict[int, LlmCall]:
    """Return the next call by row, for the calls of one episode in the order they began."""
    following: dict[int, LlmCall] = {}
    ends: dict[tuple[str | None, Digest], list[LlmCall]] = defaultdict(list)
    for call in calls:
        chain = digests(call)
        for digest in reversed(chain):
            earlier = [
                candidate
                for candidate in ends.get((call.agent, digest), ())
                if candidate.span.end_ns <= call.span.start_ns and candidate.span.index not in following
            ]
            if earlier:
                for candidate in earlier:
                    following[candidate.span.index] = call
                break
        for message in call.output or ():
            ends[call.agent, extend(chain[-1], message)].append(call)
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
