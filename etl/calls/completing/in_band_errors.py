"""Errors that a tool's result says of itself, while its span ended well.

MCP's `isError`, Anthropic's `is_error`, JSON-RPC's `error`, and an object that has nothing but an error to tell.
"""

from typing import Any

from etl.dialects.shapes.json_values import decode
from etl.dialects.shapes.messages.tools import result_text
from etl.dialects.spans import ToolCall

MARKS = ("isError", "is_error")

ERROR = "error"

BESIDE_ERROR = {"code", "status", "statusCode", "type", "name", "detail", "details", "id", "jsonrpc", "success", "ok"}
"""Keys that an object may have which tells nothing but its error."""

BOXES = ("result", "output", "response", "kwargs", "data")
"""Keys under which frameworks put what a client returned."""

DEEPEST = 3


def in_band_error(result: str | None) -> str | None:
    """Return the error's own words where a result is marked as one; None where it is not.

    >>> in_band_error('{"content": [{"type": "text", "text": "no quota"}], "isError": true}')
    'no quota'
    >>> in_band_error('{"jsonrpc": "2.0", "id": 1, "error": {"code": -32603, "message": "no such tool"}}')
    'no such tool'
    >>> in_band_error('{"is_error": false, "content": "fine"}'), in_band_error("isError")
    (None, None)
    >>> in_band_error('{"error": null, "code": 0}'), in_band_error('{"error": 0.02, "slope": 1.5}')
    (None, None)
    """
    if result is None or not any(mark in result for mark in (*MARKS, f'"{ERROR}"')):
        return None
    marked = _marked(decode(result), DEEPEST)
    if marked is None:
        return None
    if isinstance(marked.get(ERROR), dict):  # JSON-RPC's
        told = marked[ERROR].get("message")
        return told if isinstance(told, str) and told else result
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
    if any(value.get(mark) is True for mark in MARKS) or _tells_an_error_alone(value):
        return value
    return next((found for key in BOXES if (found := _marked(decode(value.get(key)), depth - 1)) is not None), None)


def _tells_an_error_alone(value: dict[str, Any]) -> bool:
    """Tell whether an object has an error in words, or JSON-RPC's, and no result."""
    error = value.get(ERROR)
    is_told = (isinstance(error, str) and bool(error.strip())) or (isinstance(error, dict) and "message" in error)
    is_fine = any(value.get(key) is True for key in ("success", "ok"))
    return is_told and not is_fine and value.keys() <= {ERROR, *BESIDE_ERROR}
