"""Compares what several recordings of one exchange say: how much each tells, and whether one holds another."""

import json
import re
from collections.abc import Iterable
from typing import Any

from etl.dialects.shapes.executions import tool_result
from etl.dialects.shapes.messages.canonical import UNREAD, answer, join_turns
from etl.dialects.shapes.messages.names import content_of
from etl.dialects.spans import Message

SILENT = 2
"""Texts that a message which says nothing costs a rendition: another has what stood there."""


def told(messages: list[Message] | None) -> int:
    """Count what messages tell: texts, reasoning, tool calls down to their ids, less what was not understood.

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
        count += bool(message.get("reasoning"))
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


def without_answer(messages: list[Message], answers: Iterable[Message]) -> list[Message]:
    """Return a request without the answer that a list of the whole exchange ends in, in one piece or several."""
    begin = len(messages)
    while begin > 1 and messages[begin - 1]["role"] == "assistant":
        begin -= 1
    if begin < len(messages):
        whole, last = join_turns(messages[begin:])[0], messages[-1]
        for answered in answers:
            if is_same_answer(whole, answered):
                return messages[:begin]
            if is_same_answer(last, answered):
                return messages[:-1]
    return messages


def lost_words(one: list[Message] | None, other: list[Message] | None) -> bool:
    """Tell whether an answer's calls stand in one rendition without the words that another has without the calls."""
    said, spoken = (one or [answer(None, [])])[0], (other or [answer(None, [])])[0]
    return bool(said["tool_calls"]) and not said["text"] and bool(spoken["text"]) and not spoken["tool_calls"]


CALLING = re.compile(r"\b(?:functions?|tools?|calls?|tool_calls?|names?|arguments|args)\b", re.IGNORECASE)
"""Words that a line about calls of tools has around their names and arguments."""


def retells(text: str, calls: Iterable[dict[str, Any]]) -> bool:
    """Tell whether a text is a line about calls of tools, with all names and arguments, and has no words of its own.

    >>> retells('Function: look({"a": 1})', [{"name": "look", "arguments": {"a": 1}}])
    True
    >>> retells("Let me look.", [{"name": "look", "arguments": {}}])
    False
    """
    for call in calls:
        name, value = str(call["name"]), call["arguments"]
        spelling = value if isinstance(value, str) else _spelling(value, text)
        if name not in text or spelling is None or spelling not in text:
            return False
        text = text.replace(spelling, " ", 1).replace(name, " ", 1)
    return not any(map(str.isalnum, CALLING.sub(" ", text)))


def _spelling(value: Any, text: str) -> str | None:  # noqa: ANN401 - any JSON value
    """Return how a text has a JSON value, if it does."""
    forms = ((separators, is_ascii) for separators in ((",", ":"), (", ", ": ")) for is_ascii in (False, True))
    spelled = (json.dumps(value, separators=separators, ensure_ascii=is_ascii) for separators, is_ascii in forms)
    return next((one for one in spelled if one in text), None)
