"""AutoGen's own spans: agents and tools by name only; what tools were given and gave is in the runtime's messages.

https://microsoft.github.io/autogen/stable/user-guide/core-user-guide/framework/telemetry.html
"""

from typing import Any

from etl.dialects.shapes.json_values import decode
from etl.dialects.shapes.messages.tools import call_arguments
from etl.dialects.shapes.values import text_of
from etl.dialects.spans import Span, ToolFact

RUNTIME = "autogen SingleThreadedAgentRuntime"


def recognises(span: Span) -> bool:
    """Tell whether this is a span of the runtime that passes messages on."""
    return span.scope == RUNTIME


def read(span: Span) -> list[ToolFact]:
    """Return what a message tells of tool calls: requests have an id and arguments, results a call_id and content."""
    return [fact for item in _items(decode(span.attributes.get("message"))) for fact in _facts(item)]


def _items(message: Any) -> list[Any]:  # noqa: ANN401 - any JSON value
    """Walk a message for lists of requests and results, however deep they lie; iterative, messages may be deep."""
    found: list[Any] = []
    stack = [message]
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            content = value.get("content")
            if isinstance(content, list):
                found += content
            stack += [inner for inner in value.values() if isinstance(inner, dict | list)]
        elif isinstance(value, list):
            stack += value
    return found


def _facts(item: Any) -> list[ToolFact]:  # noqa: ANN401
    if not isinstance(item, dict):
        return []
    if "arguments" in item and text_of(item, "id"):
        return [ToolFact(item["id"], text_of(item, "name"), call_arguments(item["arguments"]))]
    if "is_error" in item and text_of(item, "call_id"):
        text = item.get("content") if isinstance(item.get("content"), str) else None
        failed = bool(item["is_error"])
        return [
            ToolFact(
                item["call_id"], text_of(item, "name"), None, None if failed else text, (text or "") if failed else None
            )
        ]
    return []
