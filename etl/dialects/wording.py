"""Puts finish reasons, turns and parameters back into the provider's words where an instrumentation chose its own."""

from typing import Any

from etl.dialects.messages import join_turns
from etl.dialects.spans import LlmCall

REASONS: dict[str, dict[str, str]] = {
    "chat.completions": {"tool_call": "tool_calls", "function_calls": "tool_calls", "tool-calls": "tool_calls"},
    "responses": {
        "tool_call": "completed",
        "tool_calls": "completed",
        "stop": "completed",
        "length": "incomplete",
    },
    "messages": {"tool_call": "tool_use", "tool_calls": "tool_use", "stop": "end_turn", "length": "max_tokens"},
}
"""By API: what the official packages, Traceloop and AutoGen write, and what the provider had said."""

ENUM_PREFIX = "FinishReason."
"""Semantic Kernel writes the enum's member, `FinishReason.TOOL_CALLS`."""


def provider_reason(reason: Any, api: str | None) -> Any:  # noqa: ANN401 - whatever was recorded
    """Return the finish reason as the provider says it.

    >>> provider_reason("tool_call", None), provider_reason("stop", "messages")
    ('tool_calls', 'end_turn')
    """
    if not isinstance(reason, str):
        return None
    if reason.startswith(ENUM_PREFIX):
        reason = reason.removeprefix(ENUM_PREFIX).lower()
    return REASONS.get(api or "chat.completions", {}).get(reason, reason)


def restore_wording(call: LlmCall) -> None:
    """Put a call's finish reasons, turns and parameter names back into the provider's words, in place."""
    for message in call.output or ():
        message["finish_reason"] = provider_reason(message["finish_reason"], call.api)
    if call.api != "responses":
        return
    if call.input is not None:
        call.input = join_turns(call.input)
    if "max_tokens" in call.params:
        call.params.setdefault("max_output_tokens", call.params.pop("max_tokens"))
