"""Logfire over OpenAI's and Anthropic's clients: the GenAI conventions, or the client's request and response as JSON.

A streamed call is two spans: the request's, which ends as the stream begins, and a moment that tells what came of it.

https://logfire.pydantic.dev/docs/integrations/llms/openai/
"""

from collections import defaultdict
from dataclasses import replace
from typing import Any

import orjson

from etl.dialects.conventions import genai
from etl.dialects.shapes import client_dump, exchanges
from etl.dialects.shapes.json_values import decode
from etl.dialects.shapes.message_events import read_messages
from etl.dialects.shapes.messages.canonical import canonical_output, join_answers
from etl.dialects.shapes.values import text_of
from etl.dialects.shapes.wording import restore_wording
from etl.dialects.spans import Embedding, LlmCall, LogRecord, Message, Span

DIALECT = "logfire"
SCOPES = {"logfire.openai", "logfire.anthropic"}
API_BY_NAME = {"Chat Completion": "chat.completions", "Completion": "completions", "Responses API": "responses"}
"""Beginnings of the names of spans, which go on `with {request_data[model]!r}`."""


def recognises(span: Span) -> bool:
    """Tell whether the span speaks this dialect."""
    return span.scope in SCOPES


def read(span: Span) -> LlmCall | Embedding | None:
    """Read a model call, or the moment that tells what a stream gave."""
    attributes = span.attributes
    if attributes.get(genai.OPERATION) in genai.EMBEDDING_OPERATIONS:
        return genai.read_embedding(span, DIALECT)
    if "gen_ai.request.model" not in attributes or span.name.startswith("Image"):
        return None
    call = genai.read_call(span, DIALECT)
    named = next((api for name, api in API_BY_NAME.items() if span.name.startswith(f"{name} with ")), None)
    call.api = named or call.api
    if call.response_id is None and call.model_returned == call.model_requested:
        call.model_returned = None  # it repeats the requested model
    asked = decode(attributes.get("request_data"))
    request = client_dump.read_request(asked)
    if request is not None:
        call.input = call.input or request.input
        call.tools = call.tools or request.tools
        call.params = {**call.params, **request.params}
    if isinstance(asked, dict) and isinstance(asked.get("stream"), bool):
        call.streamed = asked["stream"]
    _add_events(call, attributes.get("events"))
    _add_response(call, decode(attributes.get("response_data")))
    call.usage = exchanges.read_usage(decode(attributes.get("gen_ai.usage.raw"))) or call.usage
    restore_wording(call)
    return call


def _add_events(call: LlmCall, recorded: Any) -> None:  # noqa: ANN401 - any attribute value
    """Read version 1 of the Responses API: the request's messages and then the answer's, in one list."""
    events = decode(recorded)
    if not isinstance(events, list):
        return
    records = [LogRecord(str(item.get("event.name")), 0, item, {}) for item in events if isinstance(item, dict)]
    end = len(records)
    is_answered = call.response_id is not None or _is_moment(call.span)
    while is_answered and end and records[end - 1].event_name == "gen_ai.assistant.message":
        end -= 1
    read_messages(call, records[:end], [])
    answers = canonical_output([record.body for record in records[end:]])
    call.output = join_answers(answers) or None


def _add_response(call: LlmCall, response: Any) -> None:  # noqa: ANN401 - any JSON value
    """Read version 1: the answer's message and its counts, or only the text a stream's chunks made."""
    if not isinstance(response, dict) or call.output is not None:
        return
    message = response.get("message")
    if not isinstance(message, dict):
        text = text_of(response, "combined_chunk_content", "text")
        message = None if text is None else {"content": text}
    if message is not None:
        call.output = canonical_output([message], call.finish_reasons)
        for request in call.output[0]["tool_calls"]:
            if isinstance(request["arguments"], dict) and list(request["arguments"]) == ["input"]:
                request["arguments"] = request["arguments"]["input"]  # Anthropic's block, put in place of its input
    call.usage = exchanges.read_usage(response.get("usage")) or call.usage


def _is_moment(span: Span) -> bool:
    return span.attributes.get("logfire.span_type") == "log"


def join_streams(calls: list[LlmCall]) -> list[LlmCall]:
    """Join what a stream gave to the call that asked for it: the earliest with the same parent and question."""
    told = [
        call for call in calls if call.dialect == DIALECT and call.span.attributes.get("logfire.span_type") == "log"
    ]
    if not told:
        return calls
    waiting: dict[tuple[Any, ...], list[LlmCall]] = defaultdict(list)
    for call in sorted(calls, key=lambda call: (call.span.start_ns, call.span.span_id)):
        if call.dialect == DIALECT and not _is_moment(call.span) and call.output is None and call.error is None:
            waiting[_stream_key(call)].append(call)
    joined: set[int] = set()
    for moment in sorted(told, key=lambda call: (call.span.start_ns, call.span.span_id)):
        asked = waiting[_stream_key(moment)]
        if asked and asked[0].span.start_ns <= moment.span.start_ns:
            call = asked.pop(0)
            call.span = replace(call.span, end_ns=max(call.span.end_ns, moment.span.end_ns))
            call.output, call.finish_reasons = moment.output, moment.finish_reasons
            call.usage = moment.usage or call.usage
            call.streamed = True
            call.merged.append(moment.span)
            if call.api == "responses":
                restore_wording(call)
            joined.add(moment.span.index)
    return [call for call in calls if call.span.index not in joined]


def _stream_key(call: LlmCall) -> tuple[Any, ...]:
    span = call.span
    asked: list[Message] = call.input or []
    return span.project, span.trace_id, span.parent_span_id, span.scope, call.model_requested, orjson.dumps(asked)
