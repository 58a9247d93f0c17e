"""AIR: the action that asks again for what its agent had already asked for."""

from collections import defaultdict
from collections.abc import Hashable, Iterable

import orjson

from etl.dialects.spans import LlmCall


def repetition(calls: Iterable[LlmCall]) -> dict[int, float]:
    """Return by call row minus the share of its tool calls that an earlier call of the same agent had made alike.

    `calls` are one episode's, in the order they began. A call that asked for no tool has no entry; the same request
    twice within one answer counts once as repeated.
    """
    tried: dict[Hashable, set[bytes]] = defaultdict(set)
    measured: dict[int, float] = {}
    for call in calls:
        asked = [
            orjson.dumps([request["name"], request["arguments"]], option=orjson.OPT_SORT_KEYS, default=str)
            for request in (call.answer["tool_calls"] if call.answer is not None else ())
        ]
        again = 0
        for key in asked:
            again += key in tried[call.agent]
            tried[call.agent].add(key)
        if asked:
            measured[call.span.index] = -again / len(asked)
    return measured
