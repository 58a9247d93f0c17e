"""MLflow Tracing: the client's own request and response, every value JSON-encoded once more; streams as chunk events.

https://mlflow.org/docs/latest/genai/tracing/
"""

from collections.abc import Iterable
from typing import Any

import orjson

from etl.dialects import client_dump, genai
from etl.dialects.messages import call_arguments, definitions, result_text
from etl.dialects.spans import AgentSpan, Evaluation, LlmCall, Reading, Span, ToolCall
from etl.dialects.values import Attributes, error_of, text_of
from etl.dialects.wording import restore_wording

DIALECT = "mlflow"
SCOPE = "mlflow.tracing.provider"
KIND = "mlflow.spanType"
CHUNK_EVENT = "mlflow.chunk.item."


def recognises(span: Span) -> bool:
    """Tell whether the span speaks this dialect."""
    return KIND in span.attributes or (span.scope == SCOPE and genai.OPERATION in span.attributes)


def read(span: Span) -> Reading | None:
    """Read a model call, a tool execution or an agent."""
    attributes = span.attributes
    if KIND not in attributes:
        return _read_translated(span)
    kind = _value(attributes, KIND)
    if kind in {"CHAT_MODEL", "LLM"}:
        return _read_call(span)
    if kind == "TOOL":
        output = _value(attributes, "mlflow.spanOutputs")
        return ToolCall(
            span,
            DIALECT,
            name=span.name,
            arguments=call_arguments(attributes.get("mlflow.spanInputs")),
            result=None if span.failed else result_text(output),
            error=(_error_text(span) or "error") if span.failed else None,
        )
    if kind == "AGENT":
        return AgentSpan(span, DIALECT, span.name)
    if kind == "EVALUATOR":
        return Evaluation(span, DIALECT)
    return None


def _read_translated(span: Span) -> Reading | None:
    """Read a span that MLflow translated to the GenAI conventions: the model it names is the one that answered."""
    found = genai.read(span)
    if isinstance(found, LlmCall):
        asked = _text(span.attributes, "model")
        if asked is not None and asked != found.model_requested:
            found.model_requested, found.model_returned = asked, found.model_returned or found.model_requested
    elif isinstance(found, ToolCall) and found.result is not None:
        found.result = result_text(_value(span.attributes, "gen_ai.tool.call.result"))
    return found


def _value(attributes: Attributes, name: str) -> Any:  # noqa: ANN401 - any JSON value
    text = attributes.get(name)
    if not isinstance(text, str):
        return text
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


def _read_call(span: Span) -> LlmCall:
    attributes = span.attributes
    call = LlmCall(span, DIALECT, truncated=span.dropped_attributes > 0)
    recorded = _value(attributes, "mlflow.spanInputs")
    request = client_dump.read_request(recorded) or client_dump.salvage_request(recorded)
    call.truncated = call.truncated or isinstance(recorded, str)
    chunks = _chunks(span)
    response = client_dump.read_response(_assemble(chunks) if chunks else _value(attributes, "mlflow.spanOutputs"))
    response = response or client_dump.salvage_response(_value(attributes, "mlflow.spanOutputs"))
    call.model_requested = _text(attributes, "model")
    call.tools = definitions(attributes.get("tools")) or definitions(attributes.get("mlflow.chat.tools"))
    call.usage = client_dump.read_usage(_value(attributes, "mlflow.chat.tokenUsage"))
    call.streamed = bool(chunks) or None
    if request is not None:
        call.api, call.input, call.params = request.api, request.input, request.params
        call.model_requested = request.model or call.model_requested
        call.tools = request.tools or call.tools
        call.streamed = request.streamed if request.streamed is not None else call.streamed
    if response is not None:
        call.api = response.api or call.api
        call.output, call.response_id, call.model_returned = response.output, response.response_id, response.model
        call.usage = response.usage or call.usage
    answering = _text(attributes, "mlflow.llm.model") if response is not None else None
    call.model_returned = call.model_returned or answering
    if span.failed:
        call.error = error_of(_error_text(span))
    restore_wording(call)
    return call


def _text(attributes: Attributes, name: str) -> str | None:
    value = _value(attributes, name)
    return value if isinstance(value, str) and value else None


def _error_text(span: Span) -> str | None:
    exceptions = [event.get("attributes") or {} for event in span.events if event.get("name") == "exception"]
    texts = [span.status_message, *(text_of(fields, "exception.message") for fields in exceptions)]
    return max((text for text in texts if text), key=lambda text: ("{" in text, len(text)), default=None)


def _chunks(span: Span) -> list[dict[str, Any]]:
    """Return the stream's chunks in the order they came."""
    numbered = []
    for event in span.events:
        name = str(event.get("name"))
        number = name.removeprefix(CHUNK_EVENT)
        if name.startswith(CHUNK_EVENT) and number.isdigit():
            chunk = _value(event.get("attributes") or {}, "mlflow.chunk.value")
            if isinstance(chunk, dict):
                numbered.append((int(number), chunk))
    return [chunk for _, chunk in sorted(numbered, key=lambda entry: entry[0])]


def _assemble(chunks: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Put a stream of chat completion chunks together as the response it would have been without streaming.

    MLflow's own assembly keeps the text, loses the tool calls and says that the model stopped.
    """
    choices: dict[int, dict[str, Any]] = {}
    response: dict[str, Any] = {}
    for chunk in chunks:
        for key in ("id", "model", "usage"):
            response[key] = chunk.get(key) or response.get(key)
        for part in chunk.get("choices") or ():
            choice = choices.setdefault(part.get("index") or 0, {"text": [], "calls": {}, "finish_reason": None})
            delta = part.get("delta") or {}
            choice["finish_reason"] = part.get("finish_reason") or choice["finish_reason"]
            if delta.get("content") is not None:
                choice["text"].append(delta["content"])
            for piece in delta.get("tool_calls") or ():
                call = choice["calls"].setdefault(piece.get("index") or 0, {"id": None, "name": None, "arguments": ""})
                function = piece.get("function") or {}
                call["id"] = piece.get("id") or call["id"]
                call["name"] = function.get("name") or call["name"]
                call["arguments"] += function.get("arguments") or ""
    response["choices"] = [
        {
            "finish_reason": choice["finish_reason"],
            "message": {
                "role": "assistant",
                "content": "".join(choice["text"]) if choice["text"] else None,
                "tool_calls": [call for _, call in sorted(choice["calls"].items())],
            },
        }
        for _, choice in sorted(choices.items())
    ]
    return response
