"""Messages between the dataset's shape and that of OpenAI's chat API, and what makes two of them the same."""

import json
import re
from typing import Any

Message = dict[str, Any]
"""In the canonical shape of `etl.schema`."""

ToolCall = tuple[str, str]
"""Name and arguments, canonical."""


def as_openai(message: Message) -> dict[str, Any]:
    """Return a message as the chat API takes it.

    >>> as_openai({"role": "tool", "text": "84", "tool_call_id": "c1"})
    {'role': 'tool', 'content': '84', 'tool_call_id': 'c1'}
    """
    found: dict[str, Any] = {"role": message["role"], "content": message.get("text")}
    if calls := message.get("tool_calls"):
        found["tool_calls"] = [
            {
                "id": call.get("id") or f"call_{number}",
                "type": "function",
                "function": {"name": call["name"], "arguments": _text(call.get("arguments"))},
            }
            for number, call in enumerate(calls)
        ]
    elif found["content"] is None:
        found["content"] = ""
    if message.get("tool_call_id"):
        found["tool_call_id"] = message["tool_call_id"]
    return found


def offered(tools: list[dict[str, Any]] | None) -> list[dict[str, Any]]:
    """Return the tools of a state as the chat API takes them."""
    return [
        {"type": "function", "function": {name: value for name, value in tool.items() if value is not None}}
        for tool in tools or ()
    ]


def from_openai(answered: dict[str, Any]) -> Message:
    """Return an answer of the chat API in the dataset's shape; arguments that are no JSON stay text.

    >>> from_openai({"content": "42", "tool_calls": None})
    {'role': 'assistant', 'text': '42', 'tool_calls': []}
    """
    calls = [
        {"id": call.get("id"), "name": call["function"]["name"], "arguments": _parsed(call["function"]["arguments"])}
        for call in answered.get("tool_calls") or ()
    ]
    found: Message = {"role": "assistant", "text": _content(answered.get("content")), "tool_calls": calls}
    if answered.get("refusal"):
        found["refusal"] = answered["refusal"]
    return found


def key_of(call: dict[str, Any]) -> ToolCall:
    """Return what two calls of a tool have in common when they ask the same.

    >>> key_of({"name": "add", "arguments": {"b": 1.0, "a": 2}}), key_of({"name": "add", "arguments": '{"a":2,"b":1}'})
    (('add', '{"a": 2, "b": 1}'), ('add', '{"a": 2, "b": 1}'))
    """
    return str(call["name"]), json.dumps(_plain(_parsed(call.get("arguments"))), sort_keys=True, ensure_ascii=False)


def calls_of(message: Message) -> list[ToolCall]:
    """Return the tool calls of an answer, in an order that does not tell which came first."""
    return sorted(key_of(call) for call in message.get("tool_calls") or ())


def plain_text(message: Message) -> str:
    """Return the text of an answer without what two ways of writing the same differ by.

    >>> plain_text({"text": " The answer  is 42. "})
    'the answer is 42'
    """
    return re.sub(r"\s+", " ", message.get("text") or "").strip().strip(".!").casefold()


def said_of(message: Message) -> str:
    """Return all an answer says, text and tool calls, so that equal answers are equal texts."""
    return " ".join([plain_text(message), *(f"{name}{arguments}" for name, arguments in calls_of(message))]).strip()


def with_system(messages: list[Message], system: str | None) -> list[Message]:
    """Return a conversation under another system message; one that had none gets it at its beginning."""
    if system is None:
        return messages
    rest = [message for message in messages if message["role"] not in ("system", "developer")]
    return [{"role": "system", "text": system}, *rest]


def _parsed(arguments: object) -> object:
    if not isinstance(arguments, str):
        return {} if arguments is None else arguments
    try:
        return json.loads(arguments or "{}")
    except ValueError:
        return arguments


def _plain(value: object) -> object:
    """Write whole numbers alike, whatever wrote them."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _text(arguments: object) -> str:
    return arguments if isinstance(arguments, str) else json.dumps({} if arguments is None else arguments)


def _content(content: object) -> str | None:
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content if isinstance(part, dict)) or None
    return content if isinstance(content, str) else None
