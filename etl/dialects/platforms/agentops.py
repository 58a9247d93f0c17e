"""AgentOps: indexed messages under the client library's own scope; the answer's tool calls are child spans.

https://github.com/AgentOps-AI/agentops
"""

from etl.dialects.conventions import genai, traceloop
from etl.dialects.platforms import agentlightning
from etl.dialects.shapes.json_values import decode
from etl.dialects.shapes.messages.canonical import answer
from etl.dialects.shapes.messages.tools import tool_call
from etl.dialects.shapes.values import Attributes, flag_of, integer_of, numbered, text_of
from etl.dialects.spans import AgentSpan, Embedding, LlmCall, Reading, Span, ToolCall

DIALECT = "agentops"
KIND = "agentops.span.kind"
CLIENT_SCOPES = {"openai", "anthropic"}
REQUESTED_TOOL_SCOPE = "agentops.instrumentation.providers.openai.wrappers.chat"


def recognises(span: Span) -> bool:
    """Tell whether the span speaks this dialect."""
    if KIND in span.attributes or span.scope.startswith("agentops"):
        return True
    return span.scope in CLIENT_SCOPES and traceloop.is_indexed(span.attributes)


def is_requested_tool(span: Span) -> bool:
    """Tell whether the span stands for a tool call the model asked for, which is part of its answer."""
    return span.scope == REQUESTED_TOOL_SCOPE and span.name.startswith("tool_call.")


def read(span: Span) -> Reading | None:
    """Read a model call, a tool execution or an agent."""
    attributes = span.attributes
    if is_requested_tool(span):
        return None
    if span.scope in CLIENT_SCOPES:
        call = genai.read_call(span, DIALECT)
        call.input = call.input or traceloop.indexed_input(attributes)
        call.output = call.output or traceloop.indexed_output(attributes)
        call.tools = call.tools or traceloop.indexed_tools(attributes, "gen_ai.request.functions")
        call.streamed = flag_of(attributes, "gen_ai.request.streaming") if call.streamed is None else call.streamed
        agentlightning.add_tokens(call)
        asked_for = attributes.get("gen_ai.request.type")
        if asked_for == "embedding":
            entries = numbered(attributes, "gen_ai.completion").values()
            lengths = [integer_of(entry, "embedding_length") for entry in entries]
            return Embedding.of(call, [length for length in lengths if length is not None])
        if asked_for == "completion":
            call.api = "completions"
        if _has_gaps(attributes):
            call.pieced.add("input")
        return call
    kind = attributes.get(KIND)
    if kind == "tool":
        return ToolCall(
            span,
            DIALECT,
            name=text_of(attributes, "operation.name", "tool.name") or span.name.removesuffix(".tool"),
            arguments=_entity_input(attributes.get("agentops.entity.input") or attributes.get("agentops.tool.input")),
            result=text_of(attributes, "agentops.entity.output", "agentops.tool.output"),
            error=(span.status_message or "error") if span.failed else None,
        )
    if kind == "agent":
        return AgentSpan(span, DIALECT, text_of(attributes, "operation.name", "agent.name"))
    return None


def _has_gaps(attributes: Attributes) -> bool:
    """Tell whether messages are missing among the numbered ones: a client's own objects are left out of requests."""
    numbers = list(numbered(attributes, "gen_ai.prompt"))
    return numbers != list(range(len(numbers)))


def _entity_input(value: object) -> object:
    """Arguments are recorded as {"args": [...], "kwargs": {...}}."""
    entity = decode(value)
    if isinstance(entity, dict) and isinstance(entity.get("kwargs"), dict) and not entity.get("args"):
        return entity["kwargs"]
    return entity


def add_requested_tools(call: LlmCall, children: list[Span]) -> None:
    """Complete an answer with the tool calls its child spans stand for, in the order they began."""
    requested = sorted(
        (span for span in children if is_requested_tool(span)), key=lambda span: (span.start_ns, span.index)
    )
    if not requested:
        return
    calls = [
        tool_call(
            span.attributes.get("tool.call.id"),
            span.attributes.get("tool.name"),
            span.attributes.get("tool.parameters"),
        )
        for span in requested
    ]
    if not call.output:
        call.output = [answer(None, calls)]
    elif not call.output[0]["tool_calls"]:
        call.output[0]["tool_calls"] = calls
