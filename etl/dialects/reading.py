"""Decides which dialect a span speaks and has it read: per span, never per trace, since one trace mixes several."""

from types import ModuleType

from etl.dialects.conventions import anthropic_client, gateway, genai, spring_ai, traceloop
from etl.dialects.frameworks import adk, autogen, haystack, pydantic_ai, strands, vercel
from etl.dialects.openinference import reader as openinference
from etl.dialects.platforms import agentlightning, agentops, langfuse, langsmith, litellm, logfire, mlflow, openlit
from etl.dialects.shapes.values import text_of
from etl.dialects.spans import AgentSpan, AnswerFact, Evaluation, Reading, Span, ToolCall, ToolFact
from otel_exporter.schema import AGENT_NAME

BY_NAME = "generic"
"""The dialect of spans that an agent's name, or a judge's scope, alone tells of."""

Found = Reading | list[ToolCall | AgentSpan | ToolFact | AnswerFact]
"""What a span is, or the several things it is and what it tells of others."""

ORDER: tuple[ModuleType, ...] = (
    gateway,
    openinference,
    langfuse,
    mlflow,
    langsmith,
    vercel,
    agentops,
    litellm,
    adk,
    strands,
    pydantic_ai,
    autogen,
    anthropic_client,
    logfire,
    openlit,
    haystack,
    spring_ai,
    traceloop,
    genai,
)
"""The first that recognises a span reads it; where a scope name is ambiguous, the one with an attribute of its own goes
first (docs/dialects.md)."""

MARKERS = (
    "gen_ai.",
    "openinference.",
    "llm.",
    "traceloop.",
    "agentops.",
    "agentlightning.",
    "langfuse.",
    "mlflow.",
    "langsmith.",
    "ai.operationId",
    "gcp.vertex.agent",
    "haystack.",
    "spanloop.",
    "sk.available_functions",
    "embedding.",
    "annotations.",
    "evaluations.",
    "user.id",
    "role",
    "message",
    "prompt",
    "completion",
    "model",
    "tool",
    '"agent"',
    "agent.name",
    "agent_name",
    "agent_run",
    "input",
    "output",
    "tokens",
)
"""A span whose attributes hold none of these is an ordinary one: kept for the tree, never parsed."""

TRAFFIC = ("prompt", "completion", "messages", "llm", "model")
"""Attribute names of a span that nobody reads, but that looks like model traffic, hold several of these."""


SCOPES = ("litellm", "openai", "anthropic", autogen.RUNTIME, adk.SCOPE, strands.SCOPE, pydantic_ai.SCOPE)
"""Scopes of spans that are parsed whatever their attributes are called."""


JUDGES = ("ragas", "deepeval", "trulens", "phoenix.evals")
"""Beginnings of the scopes of libraries that judge answers: what they call models for is no agent's work."""


def read(span: Span) -> Found | None:
    """Read one span; None for an ordinary one."""
    if agentlightning.is_annotation(span):
        return Evaluation(span, agentlightning.DIALECT) if agentlightning.rewards(span) else None
    if span.scope.lower().startswith(JUDGES):
        return Evaluation(span, BY_NAME)
    for dialect in ORDER:
        if dialect.recognises(span):
            reading: Found | None = dialect.read(span)
            return reading
    name = text_of(span.attributes, AGENT_NAME)
    return AgentSpan(span, BY_NAME, name) if name is not None else None


def looks_like_traffic(span: Span) -> bool:
    """Tell whether an unread span deserves a second look: a dialect nobody knows yet is seen the first night."""
    names = " ".join(span.attributes)
    return sum(word in names for word in TRAFFIC) >= 2 and not any(dialect.recognises(span) for dialect in ORDER)
