"""LangSmith's OpenTelemetry mode: inputs and outputs whole as JSON, LangChain's objects or the client's own.

https://docs.smith.langchain.com/observability/how_to_guides/trace_langchain_with_otel
"""

from typing import Any

from etl.dialects.conventions import genai
from etl.dialects.frameworks import langgraph
from etl.dialects.shapes import client_dump, exchanges, langchain
from etl.dialects.shapes.json_values import decode
from etl.dialects.shapes.messages.canonical import canonical_output, has_content
from etl.dialects.shapes.messages.tools import call_arguments, definitions, result_text
from etl.dialects.shapes.values import Attributes, complete_usage, flag_of, text_of
from etl.dialects.shapes.wording import restore_wording
from etl.dialects.spans import AgentSpan, Evaluation, LlmCall, Reading, Span, ToolCall

DIALECT = "langsmith"
KIND = "langsmith.span.kind"
METADATA = "langsmith.metadata."
LANGCHAIN = METADATA + "_type"
"""Beside this, a LangChain model's own parameters are among the metadata, under their names in the request."""

AGENTS_SDK = "openai-agents-sdk"
NAMELESS = {"Span", "Handoff", "Response", "Generation"}
"""What spans of openai-agents are called that have no name of their own, as an agent's has."""

EVALUATORS = "evaluators"
"""The project that `evaluate` puts its evaluators' runs in."""


def recognises(span: Span) -> bool:
    """Tell whether the span speaks this dialect."""
    return KIND in span.attributes


def read(span: Span) -> Reading | None:
    """Read a model call, a tool execution, an agent or an evaluator's run."""
    kind = str(span.attributes[KIND]).lower()
    if kind == "llm":
        return _read_call(span)
    if kind == "tool":
        return _read_tool(span)
    if kind == "chain" and _is_evaluator(span.attributes):
        return Evaluation(span, DIALECT)
    name = _agent(span.attributes)
    if kind == "chain" and _is_openai_agent(span):
        return AgentSpan(span, DIALECT, span.name, _conversation(span.attributes))
    if kind == "chain" and name is not None and name == span.name:
        return AgentSpan(span, DIALECT, name, _conversation(span.attributes))
    if kind == "chain" and (named := _graph_agent(span)) is not None:
        return AgentSpan(span, DIALECT, named, _conversation(span.attributes))
    return None


def _graph_agent(span: Span) -> str | None:
    """Return the agent that a run of LangGraph is, whole or one node of it."""
    attributes = span.attributes
    metadata = {key: attributes.get(METADATA + key) for key in ("ls_integration", "langgraph_node")}
    if langgraph.is_named_graph(span.name, metadata):
        return span.name
    return langgraph.agent_of_node(span.name, metadata, attributes.get("gen_ai.completion"))


def _is_evaluator(attributes: Attributes) -> bool:
    return METADATA + "target_run_id" in attributes or attributes.get("langsmith.trace.session_name") == EVALUATORS


def _is_openai_agent(span: Span) -> bool:
    """Tell whether this is an agent's span: an agent has a type of output, which everything below it repeats."""
    attributes = span.attributes
    return (
        attributes.get(METADATA + "ls_integration") == AGENTS_SDK
        and METADATA + "output_type" in attributes
        and METADATA + "triggered" not in attributes  # a guardrail
        and span.name not in NAMELESS
    )


def _agent(attributes: Attributes) -> str | None:
    return text_of(attributes, METADATA + "lc_agent_name", METADATA + "agent_name")


def _conversation(attributes: Attributes) -> str | None:
    return text_of(attributes, *(METADATA + name for name in ("session_id", "thread_id", "conversation_id")))


def _read_call(span: Span) -> LlmCall:
    attributes = span.attributes
    call = genai.read_call(span, DIALECT)
    call.agent = call.agent or _agent(attributes)
    call.conversation_id = call.conversation_id or _conversation(attributes)
    call.provider = text_of(attributes, METADATA + "ls_provider") or call.provider
    call.model_requested = text_of(attributes, METADATA + "ls_model_name") or call.model_requested
    if attributes.get(METADATA + "ls_integration") == AGENTS_SDK:  # it has the model that answered, if any
        call.model_requested, call.model_returned = None, call.model_requested
    request = client_dump.read_request(_asked(decode(attributes.get("gen_ai.prompt")), attributes))
    if request is not None:
        call.api = call.api or request.api
        call.input = call.input or request.input
        call.tools = call.tools or request.tools
        call.params = {**call.params, **request.params}
        call.model_requested = request.model or call.model_requested
        call.streamed = request.streamed if call.streamed is None else call.streamed
    call.tools = call.tools or definitions(attributes.get("gen_ai.tool.definitions"))
    recorded = decode(attributes.get("gen_ai.completion"))
    response = client_dump.read_response(_answered(recorded, attributes))
    if response is not None:
        call.api = response.api or call.api
        call.output = call.output or response.output
        call.response_id = response.response_id or call.response_id
        call.model_returned = response.model or call.model_returned
        call.usage = response.usage or call.usage
    elif call.output is None and isinstance(recorded, dict):
        inner = recorded.get("output", recorded)
        if isinstance(inner, dict) and "role" in inner:
            call.output = canonical_output([inner], genai.finish_reasons(attributes))
    call.usage = complete_usage(call.usage, exchanges.read_usage(decode(attributes.get(METADATA + "usage_metadata"))))
    if call.streamed is None:
        call.streamed = flag_of(attributes, METADATA + "ls_streaming")
    if LANGCHAIN in attributes:
        call.params = {**_langchain_params(attributes), **call.params}
        call.streamed = flag_of(attributes, METADATA + "stream") if call.streamed is None else call.streamed
    if call.error is not None:
        call.error["code"] = call.error["code"] or text_of(langchain.read_error(recorded), "code", "type")
        if call.output is not None and not any(has_content(message) for message in call.output):
            call.output = None
    restore_wording(call)
    return call


def _asked(recorded: Any, attributes: Attributes) -> Any:  # noqa: ANN401 - any JSON value
    """Return a request in its API's shape: openai-agents' has its items or messages, both as `input`."""
    if not isinstance(recorded, dict) or "input" not in recorded or "model" in recorded:
        return recorded
    if "instructions" in recorded or attributes.get(METADATA + "object") == "response":
        return {"instructions": None, **recorded}
    return {"messages": recorded["input"]}


def _answered(recorded: Any, attributes: Attributes) -> Any:  # noqa: ANN401
    """Return a response in its API's shape: openai-agents' has its items, the rest of it is metadata."""
    if not isinstance(recorded, dict) or not isinstance(recorded.get("output"), list) or "object" in recorded:
        return recorded
    around = {name: attributes.get(METADATA + name) for name in ("object", "id", "status")}
    return {**around, **recorded}


def _langchain_params(attributes: Attributes) -> dict[str, Any]:
    own = {name: attributes.get(METADATA + name) for name in client_dump.PARAMS}
    return {name: decode(value) for name, value in own.items() if value is not None}


def _read_tool(span: Span) -> ToolCall:
    attributes = span.attributes
    failure = span.status_message or genai.exception_message(span) or "error"
    return ToolCall(
        span,
        DIALECT,
        name=text_of(attributes, "gen_ai.tool.name", "langsmith.trace.name") or span.name,
        tool_call_id=text_of(attributes, "gen_ai.tool.call.id", METADATA + "tool_call_id"),
        arguments=_inner(attributes.get("gen_ai.prompt"), "input"),
        result=None if span.failed else _result(attributes.get("gen_ai.completion")),
        error=failure if span.failed else None,
    )


def _inner(recorded: Any, key: str) -> Any:  # noqa: ANN401 - any JSON value
    value = decode(recorded)
    if isinstance(value, dict) and list(value) == [key]:
        value = value[key]
    return call_arguments(value)


def _result(recorded: Any) -> str | None:  # noqa: ANN401
    value = decode(recorded)
    if isinstance(value, dict) and list(value) == ["output"]:
        value = value["output"]
    value = decode(value) if isinstance(value, str) and value.startswith('{"lc"') else value
    if langchain.is_langchain(value):
        value = value["kwargs"].get("content")
    elif isinstance(value, dict) and value.get("type") == "tool":
        value = value.get("content")
    return result_text(value)
