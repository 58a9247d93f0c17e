"""AIR: the call whose answer nobody used."""

from collections.abc import Hashable, Sequence
from collections.abc import Set as AbstractSet

from etl.calls.likeness import message_key
from etl.dialects.spans import LlmCall

SHORTEST_HISTORY = 4
"""Messages of a request that somebody may have made shorter."""

NEAR = 16
"""Later calls whose texts are searched for an answer's words."""


def waste(calls: Sequence[LlmCall], used: AbstractSet[int]) -> dict[int, float]:
    """Return by call row 0 where the answer came of use, -1 where not.

    Of use is an answer that a later request of the episode holds, as a message or a tool's result, or word for word in
    another text, as a summary of the conversation, or the conversation put into one text; and one whose tool calls ran
    (their rows in `used`). Nothing is said against one after which its agent's history was made shorter: what became
    of its answer is not recorded. The last call of each agent answers whoever asked, and has no entry. `calls` are one
    episode's, in their order.
    """
    following: dict[str | None, LlmCall] = {}
    seen: set[Hashable] = set()
    measured: dict[int, float] = {}
    for position in reversed(range(len(calls))):
        call = calls[position]
        row = call.span.index
        after = following.get(call.agent)
        if after is not None and call.output:
            is_spared = row in used or _is_shortened(call, after)
            is_of_use = is_spared or any(
                message_key(answer) in seen
                or (answer.get("text") or "") in seen
                or _is_quoted(answer.get("text"), calls[position + 1 : position + 1 + NEAR])
                for answer in call.output
            )
            measured[row] = 0.0 if is_of_use else -1.0
        following[call.agent] = call
        for message in call.input or ():
            role = message["role"]
            if role == "assistant":
                seen.add(message_key(message))
            elif role == "tool":
                seen.add(message.get("text"))
    return measured


def _is_quoted(answer: str | None, later: Sequence[LlmCall]) -> bool:
    """Tell whether a request has an answer's words, in any spacing, among others."""
    words = " ".join((answer or "").split())
    return bool(words) and any(
        words in " ".join(message["text"].split())
        for call in later
        for message in call.input or ()
        if message.get("text")
    )


def _is_shortened(call: LlmCall, following: LlmCall) -> bool:
    """Tell whether an agent's next request holds less than this one did: its context was compacted."""
    return 0 < len(following.input or ()) < len(call.input or ()) and len(call.input or ()) >= SHORTEST_HISTORY
