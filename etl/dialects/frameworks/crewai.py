"""CrewAI's own events, as OpenInference's listener for them writes model calls.

CrewAI hands its listeners values cut off five levels deep; below stands Python's repr, such as `"'calculator'"`
for a tool's name (`crewai.utilities.serialization.to_serializable`).
"""

import ast
from typing import Any

from etl.dialects.shapes.json_values import decode
from etl.dialects.shapes.messages.canonical import canonical_output
from etl.dialects.shapes.messages.tools import definitions
from etl.dialects.spans import LlmCall, Message, Span

LISTENER = ".crewai._event_listener"


def is_listener(span: Span) -> bool:
    """Tell whether the span was made of CrewAI's own events, not of calls into its code."""
    return span.scope.endswith(LISTENER)


def restored(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Return a value with the texts in it that are the repr of a text, a list or a dictionary read back.

    >>> restored({"name": "'calculator'", "parameters": {"city": "{'type': 'string'}"}, "description": "It's {}"})
    {'name': 'calculator', 'parameters': {'city': {'type': 'string'}}, 'description': "It's {}"}
    """
    if isinstance(value, dict):
        return {key: restored(item) for key, item in value.items()}
    if isinstance(value, list):
        return [restored(item) for item in value]
    if not isinstance(value, str) or value[:1] + value[-1:] not in {"''", '""', "[]", "{}"}:
        return value
    try:
        return ast.literal_eval(value)
    except (SyntaxError, ValueError, RecursionError, MemoryError, SystemError):
        return value


def complete(call: LlmCall) -> None:
    """Add the tools offered, a list in one JSON text, and an answer that is a list of tool calls alone, in place."""
    attributes = call.span.attributes
    call.tools = definitions(restored(decode(attributes.get("llm.tools"))))
    call.input = call.input and [_with_requests(message) for message in call.input]
    if call.output is None:
        call.output = _requested_tools(attributes.get("output.value"))


def _with_requests(message: Message) -> Message:
    if not message.get("tool_calls"):
        return message
    requests = [
        {**request, "name": restored(request["name"]), "arguments": decode(restored(request["arguments"]))}
        for request in message["tool_calls"]
    ]
    return {**message, "tool_calls": requests}


def _requested_tools(recorded: Any) -> list[Message] | None:  # noqa: ANN401 - any attribute value
    value = decode(recorded)
    if not isinstance(value, list) or not value:
        return None
    if not all(isinstance(item, dict) and isinstance(item.get("function"), dict) for item in value):
        return None
    return canonical_output([{"role": "assistant", "content": None, "tool_calls": value}])
