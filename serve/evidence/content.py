"""What was said, in the shape of the GenAI conventions: messages made of parts, as JSON text.

A request is whatever a client sent, and most of what is odd was refused by the engine: what has no shape we know is
kept as it is where it can be, and left out where it cannot; nothing here raises for it.
"""

import contextlib
import json
from collections.abc import Mapping
from typing import Any

import orjson
from opentelemetry.util.types import AttributeValue

from serve.api.answers import Choice


def content_attributes(
    request: Mapping[str, Any], choices: list[Choice], *, is_chat: bool
) -> dict[str, AttributeValue | None]:
    """Return what was asked, answered and offered."""
    if not is_chat:
        prompt = request.get("prompt")
        text = prompt if isinstance(prompt, str) else None  # ids are on the span already
        inputs = [{"role": "user", "parts": [{"type": "text", "content": text}]}] if text is not None else []
    else:
        inputs = [input_message(message) for message in mappings(request.get("messages"))]
    instructions = request.get("instructions")  # of the Responses API: they end with their response
    apart = [{"type": "text", "content": instructions}] if isinstance(instructions, str) and instructions else []
    return {
        "gen_ai.system_instructions": _json(apart),
        "gen_ai.input.messages": _json(inputs),
        "gen_ai.output.messages": _json([output_message(choice) for choice in choices]),
        "gen_ai.tool.definitions": _json([_tool_definition(tool) for tool in mappings(request.get("tools"))]),
    }


def mappings(value: Any) -> list[Mapping[str, Any]]:  # noqa: ANN401 - whatever a client sent
    """Return the objects in what should be a list of them."""
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list | tuple) else []


def tool_function(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the function of a tool or tool call; empty where there is none."""
    function = tool.get("function")
    return function if isinstance(function, Mapping) else {}


def as_utf8(text: str) -> str:
    """Return a text that can be encoded: half a surrogate pair becomes a replacement character.

    >>> as_utf8("a" + chr(0xD800))
    'a?'
    """
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _json(value: list[Any]) -> str | None:
    if not value:
        return None
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # half a surrogate pair, or a number beyond 64 bits: escaped, and nothing lost
        return json.dumps(value)


def input_message(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return an OpenAI message of a request as a message made of parts."""
    if message.get("role") == "tool":
        response = {"type": "tool_call_response", "id": message.get("tool_call_id"), "response": message.get("content")}
        return {"role": "tool", "parts": [response]}
    content = message.get("content")
    parts: list[Any] = []
    if reasoning := message.get("reasoning") or message.get("reasoning_content"):
        parts.append({"type": "reasoning", "content": reasoning})
    if isinstance(content, str):
        parts.append({"type": "text", "content": content})
    else:
        parts += [_content_part(part) for part in mappings(content)]
    parts += [_call_part(call.get("id"), tool_function(call)) for call in mappings(message.get("tool_calls"))]
    return {"role": message.get("role"), "parts": parts}


def _content_part(part: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "text", "content": part["text"]} if "text" in part else dict(part)


def output_message(choice: Choice) -> dict[str, Any]:
    """Return a recorded choice as a message made of parts."""
    parts: list[dict[str, Any]] = []
    if choice.reasoning:
        parts.append({"type": "reasoning", "content": choice.reasoning})
    if choice.text:
        parts.append({"type": "text", "content": choice.text})
    if choice.refusal:
        parts.append({"type": "refusal", "content": choice.refusal})
    parts += [_call_part(call["id"], call) for _, call in sorted(choice.tool_calls.items())]
    return {"role": "assistant", "parts": parts, "finish_reason": choice.finish_reason or ""}


def _call_part(call_id: str | None, function: Mapping[str, Any]) -> dict[str, Any]:
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        with contextlib.suppress(orjson.JSONDecodeError):  # what a model wrote need not be JSON: then kept as it is
            arguments = orjson.loads(arguments)
    return {"type": "tool_call", "id": call_id, "name": function.get("name"), "arguments": arguments}


def _tool_definition(tool: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": tool.get("type", "function"), **tool_function(tool)}
