"""Model calls as the readers hand them on, made by hand."""

from typing import Any

from etl.dialects.spans import LlmCall, Message, Span


def said(role: str, text: str | None, *asked: tuple[str | None, str, Any]) -> Message:
    """Return a message; what is asked for by id, name and arguments."""
    calls = [{"id": call_id, "name": name, "arguments": arguments} for call_id, name, arguments in asked]
    return {"role": role, "text": text, "tool_calls": calls}


def seen(index: int = 0, scope: str = "client", dialect: str = "genai", **fields: Any) -> LlmCall:
    """Return what one span tells of a call; it lies in trace `t`, at a second of its own."""
    span = Span(
        index, "p", "t", f"s{index}", None, "chat", index * 10**9, (index + 1) * 10**9, None, None, scope, None, {}
    )
    return LlmCall(span, dialect, **fields)
