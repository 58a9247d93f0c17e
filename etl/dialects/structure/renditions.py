"""Compares what several recordings of one exchange say: how much each tells, and whether one holds another."""

from etl.dialects.shapes.executions import tool_result
from etl.dialects.shapes.messages.canonical import UNREAD
from etl.dialects.shapes.messages.names import content_of
from etl.dialects.spans import Message

SILENT = 2
"""Texts that a message which says nothing costs a rendition: another has what stood there."""


def told(messages: list[Message] | None) -> int:
    """Count what messages tell: texts, tool calls down to their ids, and less where something was not understood.

    The result of a tool that nothing asked for tells nothing: it belongs elsewhere, or what asked for it was lost.
    """
    count, has_calls = 0, False
    for message in messages or ():
        calls = message.get("tool_calls") or ()
        has_calls = has_calls or bool(calls)
        if message["role"] == "tool" and not has_calls:
            count -= 1
            continue
        count += message.get("text") not in ((None, "", '""') if calls else (None,)) or bool(message.get("refusal"))
        count += 2 * len(message.get("media") or ())
        count += message.get("tool_call_id") is not None
        count -= SILENT * (not any(message.get(key) for key in ("text", "tool_calls", "media", "refusal", "reasoning")))
        count += sum(sum(value is not None for value in call.values()) for call in calls)
        count -= UNREAD in message
    return count


def holds(fuller: list[Message], messages: list[Message]) -> bool:
    """Tell whether a rendition says what another does, in its order; a text that the other lost may be any."""
    rest = iter(fuller)
    return all(
        message.get("text") is None
        or any(
            other["role"] == message["role"] and (_is_one_text(message, other) or is_block_text(message))
            for other in rest
        )
        for message in messages
    )


def _is_one_text(message: Message, other: Message) -> bool:
    """Tell whether two messages have one text; of a tool's result, one may have left it in the box it came in."""
    one, two = message.get("text"), other.get("text")
    if one == two or message["role"] != "tool" or not one or not two:
        return one == two
    return BOX in one + two and tool_result(one) == tool_result(two)


BOX = '"type":'
"""What is in the JSON of a box around a tool's result."""


def is_block_text(message: Message) -> bool:
    """Tell whether a text is the JSON of blocks of content, which somebody left as it was."""
    return (message.get("text") or "")[:1] in ("[", " ", "\n") and isinstance(content_of(message["text"]), list)


def is_same_answer(one: Message, other: Message) -> bool:
    """Tell whether two messages are one answer: its words, and as many calls of tools."""
    return (
        one["role"] == "assistant"
        and one.get("text") == other.get("text")
        and len(one.get("tool_calls") or ()) == len(other.get("tool_calls") or ())
    )
