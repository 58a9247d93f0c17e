"""Model calls as the readers hand them on, made by hand."""

from typing import Any

from etl.dialects.spans import LlmCall, Message, Span, ToolCall


def said(role: str, text: str | None, *asked: tuple[str | None, str, Any]) -> Message:
    """Return a message; what is asked for by id, name and arguments."""
    calls = [{"id": call_id, "name": name, "arguments": arguments} for call_id, name, arguments in asked]
    return {"role": role, "text": text, "tool_calls": calls}


def heard(text: str | None, call_id: str | None = None) -> Message:
    """Return what a tool gave, as a request repeats it."""
    return {"role": "tool", "text": text} | ({} if call_id is None else {"tool_call_id": call_id})


def replied(text: str | None, *asked: tuple[str | None, str, Any], reason: str | None = None) -> Message:
    """Return an answer as the readers hand it on."""
    return {**said("assistant", text, *asked), "refusal": None, "finish_reason": reason}


def counts(output_tokens: int | None) -> dict[str, int | None]:
    """Return usage of which only the answer's tokens are known."""
    names = ("input_tokens", "output_tokens", "cached_input_tokens", "reasoning_tokens")
    return {**dict.fromkeys(names), "output_tokens": output_tokens}


def ran(index: int, name: str | None = "look", call_id: str | None = None, **fields: Any) -> ToolCall:
    """Return what one span tells of a tool's execution."""
    return ToolCall(seen(index).span, "genai", name, call_id, **fields)


def seen(index: int = 0, scope: str = "client", dialect: str = "genai", **fields: Any) -> LlmCall:
    """Return what one span tells of a call; it lies in trace `t`, at a second of its own."""
    span = Span(
        index, "p", "t", f"s{index}", None, "chat", index * 10**9, (index + 1) * 10**9, None, None, scope, None, {}
    )
    return LlmCall(span, dialect, **fields)
