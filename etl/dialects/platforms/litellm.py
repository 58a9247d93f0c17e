"""LiteLLM's `otel` callback: two spans a call, the request in parts and, below it, the client's own in Python's repr.

The parts leave out the answer's tool calls; the raw span has them, with their ids. Both are read as the same call and
merged by response id. Called inside a span of the program's own, LiteLLM writes the parts onto that one instead, those
of a later call over those of an earlier: there every call but the last has its raw span alone.

https://docs.litellm.ai/docs/observability/opentelemetry_integration
"""

import re
from typing import Any

from etl.dialects.conventions import traceloop
from etl.dialects.shapes import client_dump, exchanges
from etl.dialects.shapes.json_values import decode
from etl.dialects.shapes.values import Attributes, complete_usage, error_of, integer_of, text_of
from etl.dialects.shapes.wording import asked_for, restore_wording
from etl.dialects.spans import Embedding, LlmCall, Message, Span

DIALECT = "litellm"
SCOPE = "litellm"
CALL_ID = "litellm.call_id"
RAW = re.compile(r"llm\.([^.]+)\.(messages|input|choices|output|id|usage|content)$")
"""Attributes of the raw span, `llm.<provider>.<field>`."""


def recognises(span: Span) -> bool:
    """Tell whether the span speaks this dialect."""
    return span.scope == SCOPE or CALL_ID in span.attributes


OWN_ID = re.compile(r"chatcmpl-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""The id that LiteLLM gives an answer of an API other than OpenAI's, in place of the provider's."""


def read(span: Span) -> LlmCall | Embedding | None:
    """Read a model call, from either of its spans; None for the proxy's own spans."""
    attributes = span.attributes
    provider = next((match.group(1) for name in attributes if (match := RAW.match(name))), None)
    if provider is not None:
        return _read_raw(span, f"llm.{provider}.")
    if "gen_ai.request.model" not in attributes:
        return None
    call = traceloop.read_call(span, DIALECT)
    call.usage = complete_usage(call.usage, exchanges.read_usage(decode(attributes.get("metadata.usage_object"))))
    if call.response_id == attributes.get(CALL_ID) or OWN_ID.fullmatch(call.response_id or ""):
        call.response_id = None
    if call.usage is not None and not call.usage["input_tokens"] and not call.usage["output_tokens"]:
        call.usage = None  # zeros of a stream without usage
    if traceloop.is_embedding(attributes):
        return Embedding.of(call, [])
    if call.output:
        call.output = _with_tool_calls(call.output, attributes)
    if call.api == "responses":
        call.response_id = None  # in LiteLLM's own encoding; the raw span has the provider's
        if any(message["role"] == "user" and message.get("text") == "" for message in call.input or ()):
            call.pieced.add("input")  # tool calls and their results are recorded as empty texts of the user
    if span.failed:
        call.error = error_of(
            text_of(attributes, "error.message") or span.status_message, text_of(attributes, "error.type")
        )
        status = integer_of(attributes, "error.code")
        call.error["http_status"] = call.error["http_status"] or status
        call.output, call.model_returned, call.usage = None, None, None  # there may be an earlier call's
    return call


def _with_tool_calls(output: list[Message], attributes: Attributes) -> list[Message]:
    """Return answers with the first one's tool calls, which are apart and numbered as if each were an answer."""
    answers = [message for message in output if message["text"] is not None or message["finish_reason"]] or output[:1]
    own = answers[0]
    if len(answers) > 1 or (own["text"] and own["finish_reason"] == "stop"):  # then they are an earlier call's
        return answers
    found = traceloop.indexed_output({key: value for key, value in attributes.items() if ".function_call." in key})
    requests = [request for message in found or () for request in message["tool_calls"]]
    return [{**own, "tool_calls": requests or own["tool_calls"]}]


def _read_raw(span: Span, prefix: str) -> LlmCall | None:
    fields: dict[str, Any] = {
        name.removeprefix(prefix): decode(value)
        for name, value in span.attributes.items()
        if name.startswith(prefix) and value != ""
    }
    if fields.get("object") == "list" or ("messages" not in fields and "output" not in fields and "id" not in fields):
        return None  # embeddings
    call = LlmCall(span, DIALECT, provider=prefix.split(".")[1])
    request = client_dump.read_request({"model": None, **fields})
    if request is not None:
        call.api, call.input, call.params, call.tools = request.api, request.input, request.params, request.tools
        call.streamed = request.streamed
        if "id" not in fields:  # else the answer's model is written over it
            call.model_requested = request.model
    if fields.get("object") == "response":  # repeats the request, with what nobody asked for
        call.params = asked_for(call.params)
    response = client_dump.read_response({"object": "response", **fields} if "output" in fields else fields)
    if response is not None:
        call.api = response.api or call.api
        call.output, call.response_id, call.model_returned = response.output, response.response_id, response.model
        call.usage = response.usage
    if span.failed:
        call.error = error_of(span.status_message)
    restore_wording(call)
    return call
