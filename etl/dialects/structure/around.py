"""Gives a call what only a span around it tells."""

from etl.dialects.shapes.exchanges import Response
from etl.dialects.shapes.messages.canonical import has_content
from etl.dialects.shapes.values import (
    complete_usage,
    error_of,
    text_of,
)
from etl.dialects.shapes.wording import restore_wording
from etl.dialects.spans import LlmCall, Message, Span
from etl.dialects.structure.calls import add_instructions, add_system
from etl.dialects.structure.names import Kind, words_of
from etl.dialects.structure.renditions import told
from etl.dialects.structure.survey import Survey


def complete_from_around(call: LlmCall, span: Span, found: Survey) -> None:
    """Give a call, in place, what a span around it alone tells of it, where that does not speak against it.

    What stands on a step of the model's own is the call's; what an agent or a chain was given is facts, but need not
    be what the model was sent.
    """
    is_own_step = any(kind is Kind.CALL or "model" in place for place, kind in found.kinds) or _names_model_step(span)
    known = call.output[0] if call.output and has_content(call.output[0]) else None
    responses = [
        response
        for _, response in found.responses
        if response.output and has_content(response.output[0]) and (known is None or _agrees(known, response.output[0]))
    ]
    before_input = call.input
    best = max((r.input for _, r in found.requests if r.input), key=lambda one: (_asks(one), told(one)), default=None)
    if known is None and not responses and _ended_in_error(call):
        call.output = None
        failure = text_of({"": found.fact("error")}, "") or span.status_message
        if span.failed and call.error is None:
            call.error = error_of(failure)
        call.model_returned = call.model_returned if call.response_id else None
    if is_own_step:
        for response in sorted(responses, key=lambda r: (-told(r.output), r.response_id is None)):
            _take_response(call, response)
        if best is not None and not _asks(before_input) and (before_input is None or _asks(best)):
            call.input = best
            add_system(call, before_input)
        add_instructions(call, found)
    elif best is not None and not _asks(before_input):
        call.input = best
        add_system(call, before_input)
        call.pieced.add("input")
    restore_wording(call)


def _asks(messages: list[Message] | None) -> bool:
    return any(message["role"] != "system" for message in messages or ())


def _names_model_step(span: Span) -> bool:
    words = set(words_of(" ".join(str(v) for v in span.attributes.values() if isinstance(v, str) and len(v) < SHORT)))
    return {"model", "step"} <= words or {"model", "generation"} <= words


SHORT = 40


def _ended_in_error(call: LlmCall) -> bool:
    reasons = {message["finish_reason"] for message in call.output or ()} | set(call.finish_reasons)
    return "error" in reasons


def _take_response(call: LlmCall, response: Response) -> None:
    reasons = [message["finish_reason"] for message in call.output or ()]
    if response.output and (not call.output or told(response.output) > told(call.output)):
        call.output = [{**message, "finish_reason": message["finish_reason"]} for message in response.output]
        for message, reason in zip(call.output, reasons, strict=False):
            message["finish_reason"] = message["finish_reason"] or reason
    if call.response_id is None and response.response_id is not None:
        call.response_id, call.api = response.response_id, response.api or call.api
    call.model_returned = call.model_returned or response.model
    call.usage = complete_usage(call.usage, response.usage)


def _agrees(one: Message, other: Message) -> bool:
    """Tell whether two answers may be one: what both say is the same."""
    texts = {message["text"] for message in (one, other) if message["text"]}
    calls = {tuple(str(call["id"] or call["name"]) for call in message["tool_calls"]) for message in (one, other)} - {
        ()
    }
    return len(texts) <= 1 and len(calls) <= 1
