"""One event a message, as the GenAI conventions had it from 1.28 to 1.36, and one a side, as before.

As log records, as span events, or as entries of one attribute.
https://github.com/open-telemetry/semantic-conventions/blob/v1.36.0/docs/gen-ai/gen-ai-events.md
"""

from itertools import takewhile
from typing import Any

from etl.dialects.shapes.json_values import as_list, decode
from etl.dialects.shapes.messages.canonical import canonical_input, canonical_output, join_answers
from etl.dialects.shapes.messages.names import content_of, first, role_of
from etl.dialects.shapes.messages.tools import definitions, tool_result
from etl.dialects.spans import LlmCall, LogRecord, Message, Span

MESSAGE_EVENTS = {
    "gen_ai.system.message",
    "gen_ai.developer.message",
    "gen_ai.user.message",
    "gen_ai.assistant.message",
    "gen_ai.tool.message",
    "gen_ai.choice",
}

ROLES = {
    "gen_ai.system.message": "system",
    "gen_ai.developer.message": "system",
    "gen_ai.user.message": "user",
}


def read_message_events(call: LlmCall, span: Span, reasons: list[str]) -> None:
    """Read the messages of a call from its log records, else from its span's events, in place."""
    records = [record for record in span.logs if record.event_name in MESSAGE_EVENTS]
    if not records:
        records = [
            LogRecord(event["name"], int(event.get("time_ns") or 0), body_of(event.get("attributes") or {}), {})
            for event in span.events
            if event.get("name") in MESSAGE_EVENTS
        ]
    if records:
        read_messages(call, records, reasons)
    else:
        _read_content_events(call, span, reasons)


MESSAGE_KEYS = {"content", "message", "tool_calls", "parts", "role"}
"""Keys of an event's body of which one is there."""


SAID = ("content", "message")
"""Attributes of an event that hold what was said."""


def body_of(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the body of an event that a span carries: its attributes, or the JSON that one of these holds.

    An attribute holds blocks of content as their JSON; within JSON a text is a text, whatever it looks like.

    >>> body_of({"gen_ai.system": "az", "gen_ai.event.content": '{"role": "user", "content": "hi"}'})
    {'role': 'user', 'content': 'hi'}
    """
    if not MESSAGE_KEYS.isdisjoint(fields):
        return {name: content_of(value) if name in SAID else value for name, value in fields.items()}
    bodies = [decode(value) for value in fields.values() if isinstance(value, str) and value.startswith("{")]
    bodies = [body for body in bodies if isinstance(body, dict) and not MESSAGE_KEYS.isdisjoint(body)]
    return bodies[0] if len(bodies) == 1 else fields


def read_messages(call: LlmCall, records: list[LogRecord], reasons: list[str]) -> None:
    """Read one event a message, whatever carried them."""
    messages: list[Message] = []
    choices: list[tuple[int, Message]] = []
    for record in sorted(records, key=_event_order):
        body = decode(record.body)
        body = body if isinstance(body, dict) else {}
        if record.event_name == "gen_ai.choice":
            choices.append(_choice(body, len(choices), reasons))
        elif (tools := _offered(body)) is not None:
            call.tools = call.tools or tools
        elif record.event_name in MESSAGE_EVENTS:
            told = _message_event(record.event_name, body, messages)
            messages += [message for message in told if not _is_told_again(message, messages)]
    call.input = messages or None
    answers = [message for _, message in sorted(choices, key=lambda choice: choice[0])]
    call.output = (join_answers(answers) if call.api == "messages" else answers) or None  # an event for each block


def _offered(body: dict[str, Any]) -> list[dict[str, Any]] | None:
    """Return the tools that Traceloop's Anthropic instrumentation records as if the user had said them."""
    content = body.get("content")
    return definitions(content["tools"]) if isinstance(content, dict) and list(content) == ["tools"] else None


def _read_content_events(call: LlmCall, span: Span, reasons: list[str]) -> None:
    """Read the conventions up to 1.27: prompt and completion, each one JSON attribute of a span event."""
    for event in span.events:
        fields = event.get("attributes") or {}
        if event.get("name") == "gen_ai.content.prompt":
            call.input = canonical_input(as_list(fields.get("gen_ai.prompt")) or ()) or None
        elif event.get("name") == "gen_ai.content.completion":
            call.output = canonical_output(as_list(fields.get("gen_ai.completion")) or (), reasons) or None


def _event_order(record: LogRecord) -> tuple[int, int]:
    body = record.body if isinstance(record.body, dict) else {}
    index = first({**body, **record.attributes}, "CHAT_MESSAGE_INDEX", "gen_ai.message.index")
    is_choice = record.event_name == "gen_ai.choice"
    return (int(is_choice), int(index) if isinstance(index, int) else 0)


def _message_event(name: str, body: dict[str, Any], earlier: list[Message]) -> list[Message]:
    if name == "gen_ai.tool.message":
        content = body.get("content")
        if isinstance(content, list):
            return canonical_input(
                [{"role": "tool", "tool_call_id": first(body, "id", "tool_call_id"), "content": content}]
            )
        identifier = first(body, "id", "tool_call_id") or _unanswered(earlier)
        return [tool_result(identifier, body.get("content"))]
    role = ROLES.get(name, "assistant")
    if role == "user" and role_of(body.get("role")) == "system":
        role = "system"  # Traceloop has no event for a developer's message
    item = {"role": role, "content": body.get("content"), "tool_calls": as_list(body.get("tool_calls"))}
    return canonical_input([item]) or [{"role": role, "text": None}]  # several: Anthropic's results of one turn


def _is_told_again(message: Message, earlier: list[Message]) -> bool:
    """Tell whether a result stands there already: as an event of its own, and in the turn of the user's that sent it.

    Botocore's instrumentation writes both; one call of a turn has one result.
    """
    identifier = message.get("tool_call_id")
    if message["role"] != "tool" or identifier is None:
        return False
    turn = takewhile(lambda before: before["role"] == "tool", reversed(earlier))
    return any((before.get("tool_call_id"), before["text"]) == (identifier, message["text"]) for before in turn)


def _unanswered(messages: list[Message]) -> str | None:
    """Return the first tool call of the last asking message that has no result yet."""
    answered = {message.get("tool_call_id") for message in messages if message["role"] == "tool"}
    for message in reversed(messages):
        if message.get("tool_calls"):
            return next((call["id"] for call in message["tool_calls"] if call["id"] not in answered), None)
    return None


def _choice(body: dict[str, Any], position: int, reasons: list[str]) -> tuple[int, Message]:
    index = body.get("index")
    index = index if isinstance(index, int) else position
    said = body.get("message", body.get("content"))
    inner = decode(said)
    if not isinstance(inner, dict) or MESSAGE_KEYS.isdisjoint(inner):
        inner = {"content": said}
    calls = as_list(inner.get("tool_calls")) or as_list(body.get("tool_calls")) or []
    item = {"refusal": inner.get("refusal"), "role": "assistant", "content": inner.get("content"), "tool_calls": calls}
    reason = body.get("finish_reason") or (reasons[index] if index < len(reasons) else None)
    return index, canonical_output([item], [reason])[0]
