"""AIR: the answer that was no use, so that the agent asked the very same question again."""

from collections import defaultdict
from collections.abc import Hashable, Iterable

from etl.dialects.spans import LlmCall


def retry(calls: Iterable[LlmCall]) -> dict[int, float]:
    """Return by call row -1 where a later call of the same agent, begun after this one ended, asked the same; else 0.

    `calls` are one episode's, numbered and in the order they began. Calls at the same time are samples, not retries.
    """
    asked: dict[Hashable, list[LlmCall]] = defaultdict(list)
    measured: dict[int, float] = {}
    for call in calls:
        if not call.input:
            continue
        measured[call.span.index] = 0.0
        earlier = asked[call.agent, call.beginnings[-1]]
        while earlier and earlier[-1].span.end_ns <= call.span.start_ns:
            measured[earlier.pop().span.index] = -1.0
        earlier.append(call)
    return measured
