"""Libraries that leave out what nothing on their spans shows to be missing, and the calls that may lack it.

Whatever a span, its neighbours or a later request prove is found from structure (`etl.calls.wholeness`). Here stands
what they cannot: each entry by the library's scope, with what it leaves out.
"""

from collections.abc import Sequence

from etl.dialects.spans import LlmCall
from etl.schema import RejectReason

WITHOUT_INSTRUCTIONS: dict[str, str | None] = {
    "opentelemetry.instrumentation.ag2": None,  # 1.2: its spans have the history, and the agent's prompt is not in it
    "azure.core.tracing.ext.opentelemetry_span": "responses",  # azure-ai-projects 2.10 writes no `instructions`
}
"""Scopes whose requests have a system message only where it was sent among the messages; of one API, or of all."""

WITHOUT_WORDS = ("opentelemetry.instrumentation.botocore.bedrock-runtime",)  # 0.66b0: either tool calls or content
"""Scopes whose answers have no words beside calls of tools."""


WITHOUT_ARGUMENTS = ("opentelemetry.instrumentation.bedrock",)  # 0.62.4: of a stream over `invoke_model`, `{}`
"""Scopes whose answers have no arguments of tools where they came in pieces."""


WITHOUT_PIECES = ("opentelemetry.instrumentation.google_generativeai",)  # 0.62.4: of a stream the last piece
"""Scopes whose answers are a stream's last piece; that it was streamed, nothing says but how many tokens it had."""

KNOWN = {*WITHOUT_INSTRUCTIONS, *WITHOUT_WORDS, *WITHOUT_ARGUMENTS, *WITHOUT_PIECES}


def judge_losses(calls: Sequence[LlmCall]) -> None:
    """Note on calls of such libraries what may be missing, in place, unless a later request shows that nothing is."""
    silent: list[LlmCall] = []
    for call in calls:
        if any(span.scope not in KNOWN for span in (call.span, *call.merged)):
            continue  # most calls; and what another library recorded as well is whole
        if _forgets_instructions(call) and not any(message["role"] == "system" for message in call.input or ()):
            call.incomplete.add(RejectReason.INSTRUCTIONS_MISSING)
        elif call.span.scope in WITHOUT_ARGUMENTS and any(
            not request["arguments"] for message in call.output or () for request in message["tool_calls"]
        ):
            call.incomplete.add(RejectReason.CALL_MISSING)
        elif call.span.scope in WITHOUT_PIECES and _is_short(call):
            call.incomplete.add(RejectReason.TEXT_MISSING)
        elif call.span.scope in WITHOUT_WORDS and any(m["tool_calls"] and not m["text"] for m in call.output or ()):
            silent.append(call)
    if not silent:
        return
    repeated = {
        (call.span.project, call.span.trace_id, request["id"])
        for call in calls
        for message in call.input or ()
        if not message.get("text")
        for request in message.get("tool_calls") or ()
        if request["id"]
    }
    for call in silent:
        asked = {request["id"] for message in call.output or () for request in message["tool_calls"]}
        if not all((call.span.project, call.span.trace_id, identifier) in repeated for identifier in asked):
            call.incomplete.add(RejectReason.TEXT_MISSING)


def _is_short(call: LlmCall) -> bool:
    """Tell whether more tokens were written than an answer has bytes: each stands for one at least."""
    written = ((call.usage or {}).get("output_tokens") or 0) - ((call.usage or {}).get("reasoning_tokens") or 0)
    said = "".join(
        (message["text"] or "") + "".join(f"{one['name']}{one['arguments']}" for one in message["tool_calls"])
        for message in call.output or ()
    )
    return written > len(said.encode())


def _forgets_instructions(call: LlmCall) -> bool:
    scope = call.span.scope
    return scope in WITHOUT_INSTRUCTIONS and WITHOUT_INSTRUCTIONS[scope] in {None, call.api}
