"""Errors that a tool's result says of itself, while its span ended well: MCP's `isError`, Anthropic's `is_error`."""

from typing import Any

from etl.dialects.shapes.json_values import decode
from etl.dialects.shapes.messages.tools import result_text
from etl.dialects.spans import ToolCall

MARKS = ("isError", "is_error")

BOXES = ("result", "output", "response", "kwargs", "data")
"""Keys under which frameworks put what a client returned."""

DEEPEST = 3


def in_band_error(result: str | None) -> str | None:
    """Return the error's own words where a result is marked as one; None where it is not.

    >>> in_band_error('{"content": [{"type": "text", "text": "no quota"}], "isError": true}')
    'no quota'
    >>> in_band_error('{"is_error": false, "content": "fine"}'), in_band_error("isError")
    (None, None)
    """
    if result is None or not any(mark in result for mark in MARKS):
        return None
    marked = _marked(decode(result), DEEPEST)
    if marked is None:
        return None
    told = next((marked[key] for key in ("content", "error", "message", *BOXES) if marked.get(key)), None)
    return result_text(told) or result


def move_errors(tool: ToolCall) -> None:
    """Put a result that says it is an error where errors are, in place."""
    error = in_band_error(tool.result) if tool.error is None else None
    if error is not None:
        tool.error, tool.result = error, None


def _marked(value: Any, depth: int) -> dict[str, Any] | None:  # noqa: ANN401 - any JSON value
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, dict) or not depth:
        return None
    if any(value.get(mark) is True for mark in MARKS):
        return value
    return next((found for key in BOXES if (found := _marked(decode(value.get(key)), depth - 1)) is not None), None)
