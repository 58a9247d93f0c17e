"""Calls of tools, their arguments and results, and the tools that are offered, in any provider's shape."""

import json
from typing import Any

import orjson

from etl.dialects.shapes.json_values import as_list, decode, exact, loads
from etl.dialects.shapes.messages.names import HIDDEN, block_kind, first, is_text_block, visible
from etl.dialects.spans import Message

DECODER = json.JSONDecoder(strict=False)

PARAMETERS = ("parameters", "input_schema", "inputSchema", "parameters_json_schema", "parametersJsonSchema")

JSON_OUTPUTS = {"json", "error-json"}

OUTPUTS = {"text", "error-text", "content", *JSON_OUTPUTS}
"""Types of the AI SDK's boxes around a tool's output."""


def tool_call(identifier: Any, name: Any, arguments: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return a canonical tool call; arguments become JSON where they are an object, else stay the text they were."""
    return {
        "id": visible(identifier) or None,
        "name": visible(name) or None,
        "arguments": call_arguments(arguments),
    }


def call_arguments(value: Any) -> Any:  # noqa: ANN401
    """Return arguments as an object where they are one; None and an empty text mean that nothing was recorded."""
    if value is None or (isinstance(value, str) and (value == "" or value in HIDDEN)):
        return None
    decoded = decode(value)
    if isinstance(decoded, list) and len(decoded) == 1:  # a list around them; arguments are never one
        inner = decode(decoded[0])
        decoded = inner if isinstance(inner, dict) else decoded
    if not isinstance(decoded, dict | list):
        return value
    text = exact(decoded)
    return decoded if text is None else value if isinstance(value, str) else text


def are_several(arguments: Any) -> bool:  # noqa: ANN401
    """Tell whether the arguments of several calls stand in one: a recorder ran the pieces of a stream together.

    >>> are_several('{"a": 1}{"b": 2}'), are_several('{"a": 1')
    (True, False)
    """
    if not isinstance(arguments, str) or "}{" not in arguments.replace(" ", ""):
        return False
    try:
        _, end = DECODER.raw_decode(arguments)
        DECODER.raw_decode(arguments, end + len(arguments[end:]) - len(arguments[end:].lstrip()))
    except (ValueError, RecursionError):
        return False
    return True


def definition(value: Any) -> dict[str, Any] | None:  # noqa: ANN401
    """Return a tool definition as name, description and parameters, from any provider's shape."""
    value = decode(value)
    if not isinstance(value, dict):
        return None
    inner = first(value, "function", "toolSpec", "tool_spec")
    tool = inner if isinstance(inner, dict) else value
    name = tool.get("name")
    if not isinstance(name, str):
        return None
    parameters = next(
        (tool[key] for key in PARAMETERS if tool.get(key)),
        None,
    )
    parameters = decode(parameters)
    if isinstance(parameters, dict) and list(parameters) == ["json"]:  # Bedrock's box around a schema
        parameters = parameters["json"]
    return {"name": name, "description": tool.get("description") or None, "parameters": parameters}


def definitions(value: Any) -> list[dict[str, Any]] | None:  # noqa: ANN401
    """Return a list of tool definitions; None when there is nothing to read."""
    items = as_list(value)
    if items is None:
        return None
    found = []
    for item in items:
        item = decode(item)
        nested = first(item, "function_declarations", "functionDeclarations") if isinstance(item, dict) else None
        found += [definition(entry) for entry in (nested if isinstance(nested, list) else [item])]
    return [tool for tool in found if tool is not None] or None


def unpacked(value: Any) -> Any:  # noqa: ANN401
    """Return what is in the AI SDK's box around a tool's output: {"type": "text", "value": "84"}."""
    if isinstance(value, dict) and value.get("type") in OUTPUTS and set(value) <= {"type", "value", "providerOptions"}:
        inner = value.get("value")
        is_data = value["type"] in JSON_OUTPUTS and isinstance(inner, dict | list)
        return (exact(inner) or orjson.dumps(inner).decode()) if is_data else inner
    if isinstance(value, dict) and set(value) == {"type", "text"} and block_kind(str(value["type"])) == "text":
        return value["text"]  # the Agents SDK's
    return value


def result_text(value: Any) -> str | None:  # noqa: ANN401
    """Return a tool's result as text: a string as it is, text blocks joined, anything else as JSON."""
    if value is None or isinstance(value, str):
        return visible(value)
    if isinstance(value, list) and value and all(is_text_block(block) for block in value):
        return "\n".join(str(block["text"]) for block in value)
    return exact(value) or orjson.dumps(value).decode()


def encoded_result(value: Any) -> str | None:  # noqa: ANN401
    """Return a tool's result that was recorded as JSON: a text carries quotes of its own, all else stays as it is.

    >>> encoded_result('"84"'), encoded_result('{"celsius": 4}'), encoded_result("84 or so")
    ('84', '{"celsius": 4}', '84 or so')
    """
    try:
        inner = loads(value) if isinstance(value, str) else value
    except orjson.JSONDecodeError:
        inner = None
    return inner if isinstance(inner, str) else result_text(value)


def tool_result(identifier: Any, value: Any) -> Message:  # noqa: ANN401
    """Return a canonical tool message."""
    return {"role": "tool", "text": result_text(value), "tool_call_id": visible(identifier) or None}
