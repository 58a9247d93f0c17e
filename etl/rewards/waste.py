"""AIR: the call whose answer nobody used."""

from collections.abc import Hashable, Sequence
from collections.abc import Set as AbstractSet

from etl.calls.merge import message_key
from etl.dialects.spans import LlmCall


def waste(calls: Sequence[LlmCall], used: AbstractSet[int]) -> dict[int, float]:
    """Return by call row 0 where the answer came of use, -1 where not.

    Of use is an answer that a later request of the episode holds, as a message or as a tool's result, and one whose
    tool calls ran (their rows in `used`). The last call of each agent answers whoever asked, and has no entry.
    `calls` are one episode's, in the order they began.
    """
    last = {call.agent: call.span.index for call in calls}
    seen: set[Hashable] = set()
    measured: dict[int, float] = {}
    for call in reversed(calls):
        row = call.span.index
        if row != last[call.agent] and call.output:
            answer = call.output[0]
            is_seen = message_key(answer) in seen or (answer.get("text") or "") in seen
            measured[row] = 0.0 if row in used or is_seen else -1.0
        for message in call.input or ():
            role = message["role"]
            if role == "assistant":
                seen.add(message_key(message))
            elif role == "tool":
                seen.add(message.get("text"))
    return measured
