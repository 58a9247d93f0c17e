"""AIR: the answer that was no use, so that the agent asked the very same question again."""

from collections import defaultdict
from collections.abc import Hashable, Sequence
from collections.abc import Set as AbstractSet

from etl.dialects.spans import LlmCall


def retry(calls: Sequence[LlmCall], used: AbstractSet[int]) -> dict[int, float]:
    """Return by call row -1 where a later call of the same agent, begun after this one ended, asked the same; else 0.

    An answer that was gone on from was of use, whatever was asked again: a later request holds it, or its tools ran
    (their rows in `used`). `calls` are one episode's, numbered and in the order they began. Calls at the same time are
    samples, not retries.
    """
    held = {number for call in calls for number in call.beginnings}
    asked: dict[Hashable, list[LlmCall]] = defaultdict(list)
    measured: dict[int, float] = {}
    for call in calls:
        if not call.input:
            continue
        measured[call.span.index] = 0.0
        earlier = asked[call.agent, call.beginnings[-1]]
        while earlier and earlier[-1].span.end_ns <= call.span.start_ns:
            before = earlier.pop()
            is_of_use = before.span.index in used or not held.isdisjoint(before.endings)
            measured[before.span.index] = 0.0 if is_of_use else -1.0
        earlier.append(call)
    return measured
