"""MLflow Tracing: the client's own request and response, every value JSON-encoded once more; streams as chunk events.

What it traces for a framework is in the framework's own shape: LangChain's messages as bare fields, DSPy's answers as
a list of texts. https://mlflow.org/docs/latest/genai/tracing/
"""

from typing import Any

import orjson

from etl.dialects.conventions import genai
from etl.dialects.shapes import client_dump, exchanges, langchain
from etl.dialects.shapes.json_values import loads
from etl.dialects.shapes.messages.canonical import canonical_output
from etl.dialects.shapes.messages.tools import call_arguments, definitions, result_text
from etl.dialects.shapes.values import Attributes, complete_usage, error_of, text_of
from etl.dialects.shapes.wording import plain_model, restore_wording
from etl.dialects.spans import AgentSpan, AnswerFact, Embedding, Evaluation, LlmCall, Reading, Span, ToolCall

DIALECT = "mlflow"
SCOPE = "mlflow.tracing.provider"
KIND = "mlflow.spanType"
CHUNK_EVENT = "mlflow.chunk.item."
ENDS_OF_RESPONSE = {"response.completed", "response.incomplete", "response.failed"}
FRAMEWORKS = {"langchain", "dspy"}
"""Formats of messages with which `mlflow.llm.model` is the model that was asked for, not the one that answered."""


def recognises(span: Span) -> bool:
    """Tell whether the span speaks this dialect."""
    return KIND in span.attributes or (span.scope == SCOPE and genai.OPERATION in span.attributes)


def read(span: Span) -> Reading | list[AgentSpan | AnswerFact] | None:
    """Read a model call, a tool execution, an agent, a judgement, or what LangChain's messages tell of answers."""
    attributes = span.attributes
    if KIND not in attributes:
        return _read_translated(span)
    kind = _text(attributes, KIND)
    if kind in {"CHAT_MODEL", "LLM"}:
        return None if _is_program(attributes) else _read_call(span)
    if kind == "EMBEDDING":
        return _read_embedding(span)
    if kind == "TOOL":
        return _read_tool(span)
    if kind == "AGENT":
        return AgentSpan(span, DIALECT, span.name)
    if kind == "EVALUATOR":
        return Evaluation(span, DIALECT)
    return _read_chain(span) if kind == "CHAIN" else None


def _is_program(attributes: Attributes) -> bool:
    """Tell whether the span is DSPy's `Predict`, around the call of a model: it has fields instead of messages."""
    return "signature" in attributes


def _read_chain(span: Span) -> list[AgentSpan | AnswerFact] | None:
    """Read what LangChain's chains tell: a graph with an agent's name, and answers with ids and reasons."""
    found: list[AgentSpan | AnswerFact] = []
    agent = _fields(span.attributes, "metadata").get("lc_agent_name")
    if agent is not None and agent == span.name:
        found.append(AgentSpan(span, DIALECT, span.name))
    elif "response_metadata" in str(span.attributes.get("mlflow.spanOutputs")):
        found += langchain.answer_facts(langchain.with_classes(_value(span.attributes, "mlflow.spanOutputs")))
    return found or None


def _read_tool(span: Span) -> ToolCall:
    attributes = span.attributes
    return ToolCall(
        span,
        DIALECT,
        name=_tool_name(span, span.name),
        tool_call_id=_text(attributes, "tool_call_id"),
        arguments=call_arguments(attributes.get("mlflow.spanInputs")),
        result=_tool_result(span, "mlflow.spanOutputs"),
        error=(_error_text(span) or "error") if span.failed else None,
    )


def _read_embedding(span: Span) -> Embedding:
    attributes = span.attributes
    asked, answered = _fields(attributes, "mlflow.spanInputs"), _fields(attributes, "mlflow.spanOutputs")
    call = LlmCall(span, DIALECT, model_requested=text_of(asked, "model"), model_returned=text_of(answered, "model"))
    call.usage = exchanges.read_usage(answered.get("usage"))
    texts = asked.get("input")
    texts = [text for text in (texts if isinstance(texts, list) else [texts]) if isinstance(text, str)]
    call.input = [{"role": "user", "text": text} for text in texts]
    if span.failed:
        call.error = error_of(_error_text(span))
    vectors = [entry.get("embedding") for entry in answered.get("data") or () if isinstance(entry, dict)]
    return Embedding.of(call, [len(vector) for vector in vectors if isinstance(vector, list)])


def _read_translated(span: Span) -> Reading | None:
    """Read a span that MLflow translated to the GenAI conventions: the model it names is the one that answered."""
    found = genai.read(span)
    if isinstance(found, LlmCall):
        asked = _text(span.attributes, "model")
        if asked is not None and asked != found.model_requested:
            found.model_requested, found.model_returned = asked, found.model_returned or found.model_requested
        streamed = _read_stream(span)
        if streamed is not None:
            found.streamed, found.output = True, streamed.output or found.output
        _add_settings(found)
    elif isinstance(found, ToolCall):
        found.name = _tool_name(span, found.name)
        found.tool_call_id = found.tool_call_id or _text(span.attributes, "tool_call_id")
        found.result = _tool_result(span, "gen_ai.tool.call.result")
    return found


def _tool_name(span: Span, recorded: str | None) -> str | None:
    """Return the name of a tool; DSPy's spans are called after the method, and name the tool beside it."""
    is_dspy = (recorded or "").startswith("Tool.")
    return (_text(span.attributes, "name") if is_dspy else None) or recorded


def _tool_result(span: Span, name: str) -> str | None:
    output = langchain.with_classes(_value(span.attributes, name))
    if langchain.is_langchain(output):
        output = output["kwargs"].get("content")
    return None if span.failed else result_text(output)


def _add_settings(call: LlmCall) -> None:
    """Add parameters that are attributes of their own, and what LangChain tells of its model, in place."""
    attributes = call.span.attributes
    own = client_dump.sampling_params({name: _value(attributes, name) for name in client_dump.PARAMS})
    call.params = {**own, **call.params}
    invocation = client_dump.read_request(_value(attributes, "invocation_params"))
    if invocation is not None:
        call.agent = call.agent or text_of(_fields(attributes, "metadata"), "lc_agent_name")
        call.model_requested = invocation.model or call.model_requested
        call.params = {**invocation.params, **call.params}
        call.streamed = invocation.streamed if call.streamed is None else call.streamed


def _value(attributes: Attributes, name: str) -> Any:  # noqa: ANN401 - any JSON value
    text = attributes.get(name)
    if not isinstance(text, str):
        return text
    try:
        return loads(text)
    except orjson.JSONDecodeError:
        return text


def _fields(attributes: Attributes, name: str) -> dict[str, Any]:
    value = _value(attributes, name)
    return value if isinstance(value, dict) else {}


def _read_call(span: Span) -> LlmCall:
    attributes = span.attributes
    call = LlmCall(span, DIALECT, truncated=span.dropped_attributes > 0)
    recorded = langchain.with_classes(_value(attributes, "mlflow.spanInputs"))
    recorded = {"messages": recorded} if isinstance(recorded, list) else recorded
    request = client_dump.read_request(recorded) or client_dump.salvage_request(recorded)
    call.truncated = call.truncated or isinstance(recorded, str)
    streamed = _read_stream(span)
    response = streamed or _read_answer(_value(attributes, "mlflow.spanOutputs"))
    call.model_requested = _text(attributes, "model")
    call.tools = definitions(attributes.get("tools")) or definitions(attributes.get("mlflow.chat.tools"))
    call.streamed = True if streamed is not None else None
    if request is not None:
        call.api, call.input, call.params = request.api, request.input, request.params
        call.model_requested = request.model or call.model_requested
        call.tools = request.tools or call.tools
        call.streamed = request.streamed if request.streamed is not None else call.streamed
    _add_settings(call)
    if response is not None:
        call.api = response.api or call.api
        call.output, call.response_id, call.model_returned = response.output, response.response_id, response.model
        call.usage = response.usage
    call.usage = complete_usage(call.usage, exchanges.read_usage(_value(attributes, "mlflow.chat.tokenUsage")))
    model = _text(attributes, "mlflow.llm.model")
    if _text(attributes, "mlflow.message.format") in FRAMEWORKS:
        call.model_requested = plain_model(call.model_requested or model)
    elif response is not None:
        call.model_returned = call.model_returned or model
    if span.failed:
        call.error = error_of(_error_text(span))
    restore_wording(call)
    return call


def _read_answer(recorded: Any) -> exchanges.Response | None:  # noqa: ANN401 - any JSON value
    """Read an answer in the client's shape or a framework's; DSPy's is a list of texts, one a choice."""
    if isinstance(recorded, list) and recorded and all(isinstance(item, str) for item in recorded):
        return exchanges.Response(output=canonical_output({"role": "assistant", "content": text} for text in recorded))
    response = client_dump.read_response(langchain.with_classes(recorded))
    return response or client_dump.salvage_response(recorded)


def _read_stream(span: Span) -> exchanges.Response | None:
    """Read an answer from its chunks: of chat completions put together, of the other API the last, which is whole."""
    chunks = _chunks(span)
    if any("choices" in chunk for chunk in chunks):
        return client_dump.read_response(client_dump.assemble(chunks))  # its own assembly loses tool calls
    whole = [chunk["response"] for chunk in chunks if str(chunk.get("type")) in ENDS_OF_RESPONSE]
    return client_dump.read_response(whole[-1]) if whole else None


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
