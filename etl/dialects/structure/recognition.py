"""Tells messages, blocks, calls of tools and chunks of streams, by what they hold, from data that is none of them."""

import re
from typing import Any

from etl.dialects.shapes import langchain
from etl.dialects.shapes.messages.names import ARGUMENTS, CALLED, first, is_block, role_of
from etl.dialects.structure.names import ANSWERED, ASKED, CONTENT, words_of

SIDES = {"system", "user", "assistant", "tool"}

SENDERS = {
    "human",
    "ai",
    "user",
    "assistant",
    "system",
    "tool",
    "humanmessage",
    "aimessage",
    "systemmessage",
    "toolmessage",
}
"""Types of messages that say who sent them."""

SAYERS = ("role", "author", "sender", "speaker", "from")
"""Keys under which a message says whose it is."""

SAID = {"content", "contents", "data", "text", "responses", "body", "value"}
"""Keys of a message under which its words or results stand; Java's libraries have `text`, and results in a list."""

ITEMS = {"message", "function_call", "function_call_output", "function_call_result", "reasoning"}
"""Types of the items that the Responses API's requests and answers are made of."""


def is_message(value: Any) -> bool:  # noqa: ANN401 - any JSON value
    """Tell whether this is a message: somebody's words, or a call of a tool, or what it gave, as an item of its own."""
    if not isinstance(value, dict):
        return False
    if langchain.is_langchain(value):
        return langchain.is_message(value)
    role = first(value, *SAYERS)
    if isinstance(role, str) and role_of(role) in SIDES:
        return True
    name = first(value, "type", "message_type")
    if isinstance(name, str) and name.lower() in SENDERS and not SAID.isdisjoint(value):
        return True
    if isinstance(value.get("message"), dict) and len(value) == 1:
        return is_message(value["message"])
    return isinstance(name, str) and name in ITEMS and len(value) > 1


def is_messages(value: Any) -> bool:  # noqa: ANN401 - any JSON value
    """Tell whether this is a list of messages; one entry in it may be of a kind nobody knows."""
    if not isinstance(value, list) or not value:
        return False
    keyed = [sayer_of(item) for item in value]
    if all(keyed):
        return "user" in keyed or keyed == ["assistant"]
    known = sum(is_message(item) for item in value)
    is_typed = all(isinstance(item, dict) and "type" in item for item in value)
    return known == len(value) or (known > 0 and (is_typed or (known >= FEW and known >= len(value) - 1)))


def sayer_of(value: Any) -> str | None:  # noqa: ANN401 - any JSON value
    """Return whose message stands under the one key that is called after them: a text, a list, or its fields.

    >>> sayer_of({"user": "Hello"}), sayer_of({"tool_message": {"content": "4"}}), sayer_of({"user": "a", "at": 1})
    ('user', 'tool', None)
    """
    if not isinstance(value, dict) or len(value) != 1 or not isinstance(next(iter(value.values())), str | list | dict):
        return None
    name = "".join(filter(str.isalpha, next(iter(value)))).lower()
    role = role_of(TAGS.sub("", name))
    return role if role in SIDES else None


TAGS = re.compile(r"(?<=.)(?:message|msg|result|response|prompt)$")
"""What the names of kinds of messages end in, beside whose they are, as protocol buffers and enumerations have them."""


FEW = 2
"""Messages beside which an entry that nobody knows is taken for one of their list."""


def is_blocks(value: Any) -> bool:  # noqa: ANN401 - any JSON value
    """Tell whether this is a list of blocks of content, or of tool calls."""
    return isinstance(value, list) and bool(value) and all(is_block(item) or is_tool_call(item) for item in value)


def is_tool_call(value: Any) -> bool:  # noqa: ANN401 - any JSON value
    """Tell whether this is the asking for a tool, by what it holds."""
    if not isinstance(value, dict):
        return False
    inner = value.get("function")
    call = inner if isinstance(inner, dict) else value
    has_name = isinstance(first(call, *CALLED), str)
    has_arguments = not set(ARGUMENTS).isdisjoint(call)
    return has_name and has_arguments


TALK = (
    ASKED
    | ANSWERED
    | CONTENT
    | frozenset(
        (
            "role",
            "parts",
            "tool",
            "tools",
            "call",
            "calls",
            "type",
            "usage",
            "model",
            "finish",
            "reason",
            "reasoning",
            "thinking",
            "thought",
            "args",
            "arguments",
            "kwargs",
            "lc",
            "delta",
            "function",
            "msg",
            "assistant",
            "generated",
            "generation",
            "said",
            "error",
            "status",
        )
    )
)
"""Words in the names of what a client or framework records of an exchange, in whatever shape."""


def is_data(value: Any) -> bool:  # noqa: ANN401 - any JSON value
    """Tell whether JSON in an answer's place is the answer's own text: nothing in it is named as writers name traffic.

    >>> is_data({"city": "Oslo", "celsius": 4}), is_data({"answer": "Oslo"}), is_data([])
    (True, False, False)
    """
    items = value if isinstance(value, list) else [value]
    keys = [key for item in items if isinstance(item, dict) for key in item]
    return (
        bool(keys) and all(isinstance(item, dict) for item in items) and all(TALK.isdisjoint(words_of(k)) for k in keys)
    )


BOXING = (
    (CONTENT | ANSWERED | frozenset(("finish", "stop", "done", "reason", "usage", "tokens", "token", "count", "model")))
    | frozenset(("id", "ids", "type", "role", "index", "created", "provider", "object", "metadata", "error", "status"))
) - {"answer", "reply", "result", "results"}
"""Words in the names that a box around an answer's text has for what it holds."""


def is_box(value: Any) -> bool:  # noqa: ANN401 - any JSON value
    """Tell whether JSON is a writer's box around an answer's text, not an answer that is an object with texts in it.

    >>> is_box({"text": "Oslo", "finishReason": "stop"}), is_box({"answer": "Oslo", "sources": []})
    (True, False)
    """
    return not isinstance(value, dict) or all(BOXING & set(words_of(key)) for key in value)
