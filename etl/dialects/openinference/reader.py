"""OpenInference: `openinference.span.kind`, messages as indexed attributes, the client's own JSON in input and output.

https://github.com/Arize-ai/openinference/tree/main/spec
"""

from etl.dialects.conventions import genai
from etl.dialects.frameworks import crewai, langgraph, llama_index
from etl.dialects.openinference.calls import read_call
from etl.dialects.openinference.shared import DIALECT, ROUTED_SCOPES, error_told
from etl.dialects.openinference.tools import read_tool
from etl.dialects.shapes import exchanges
from etl.dialects.shapes.json_values import decode
from etl.dialects.shapes.values import (
    numbered,
    text_of,
)
from etl.dialects.shapes.wording import (
    plain_model,
)
from etl.dialects.spans import AgentSpan, AnswerFact, Embedding, Evaluation, LlmCall, Reading, Span, ToolCall

KIND = "openinference.span.kind"


def recognises(span: Span) -> bool:
    """Tell whether the span speaks this dialect, and not another that a span processor translated into it."""
    attributes = span.attributes
    return KIND in attributes and (genai.OPERATION not in attributes or span.scope.startswith("openinference."))


def read(span: Span) -> Reading | list[ToolCall | AgentSpan | AnswerFact] | None:
    """Read a model call, a tool execution or an agent; None for chains, retrievers and the like."""
    attributes = span.attributes
    kind = str(attributes[KIND]).upper()
    if kind == "LLM":
        return None if span.name.endswith("._prepare_chat_with_tools") else read_call(span)
    if "tool.name" in attributes or (kind == "TOOL" and not _is_handoff(span)):
        tool = read_tool(span)
        coworker = _coworker(tool)
        return [tool, AgentSpan(span, DIALECT, coworker)] if coworker is not None else tool
    if kind == "AGENT":
        name = text_of(attributes, "agent.name", "graph.node.id")
        named = langgraph.agent_of_node(span.name, langgraph.metadata_of(attributes), attributes.get("output.value"))
        name = name or named or _agent_by_span_name(span)
        return AgentSpan(span, DIALECT, name, text_of(attributes, "session.id"))
    if kind == "CHAIN" and langgraph.is_named_graph(span.name, langgraph.metadata_of(attributes)):
        return AgentSpan(span, DIALECT, span.name, text_of(attributes, "session.id"))
    if kind == "CHAIN" and span.scope.endswith(llama_index.SCOPE):
        return llama_index.read_step(span, DIALECT)
    if kind == "EVALUATOR":
        return Evaluation(span, DIALECT)
    return _read_embedding(span) if kind == "EMBEDDING" else None


def _coworker(tool: ToolCall) -> str | None:
    """Return the agent at work inside CrewAI's delegation, which is a tool."""
    is_crew = tool.span.scope.endswith((".crewai", crewai.LISTENER)) and isinstance(tool.arguments, dict)
    return text_of(tool.arguments, "coworker") if is_crew else None


def _read_embedding(span: Span) -> Embedding:
    attributes = span.attributes
    call = LlmCall(span, DIALECT, provider=text_of(attributes, "llm.provider", "llm.system"))
    invocation = decode(attributes.get("embedding.invocation_parameters"))
    call.model_requested = text_of(invocation, "model") if isinstance(invocation, dict) else None
    call.model_returned = text_of(attributes, "embedding.model_name")
    counts = {"prompt_tokens": attributes.get("llm.token_count.prompt")}
    response = decode(attributes.get("output.value"))
    call.usage = exchanges.read_usage(response.get("usage") if isinstance(response, dict) else None)
    call.usage = call.usage or exchanges.read_usage(counts)
    entries = numbered(attributes, "embedding.embeddings").values()
    texts = [entry["embedding.text"] for entry in entries if isinstance(entry.get("embedding.text"), str)]
    vectors = [decode(entry.get("embedding.vector")) for entry in entries]
    call.input = [{"role": "user", "text": text} for text in texts]
    if span.scope.endswith(ROUTED_SCOPES):
        call.model_requested = plain_model(call.model_requested)
    if span.failed:
        call.error = error_told(span)
    return Embedding.of(call, [len(vector) for vector in vectors if isinstance(vector, list)])


def _agent_by_span_name(span: Span) -> str | None:
    """Most libraries call the span after the agent; openai-agents has nameless workflow spans of this kind."""
    if span.scope.endswith(".openai_agents"):
        return None
    return span.name.removesuffix(".run").removesuffix("._execute_core").removesuffix(".kickoff") or None


def _is_handoff(span: Span) -> bool:
    return span.scope.endswith(".openai_agents") and span.name.startswith("handoff to ")
