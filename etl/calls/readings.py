"""What was found in a frame of spans, by kind."""

from collections import Counter
from dataclasses import dataclass, field

from etl.dialects.spans import AgentSpan, AnswerFact, Embedding, Evaluation, LlmCall, Span, ToolCall, ToolFact


@dataclass(slots=True)
class Readings:
    """Everything the dialects found, by kind."""

    spans: dict[int, Span] = field(default_factory=dict)
    """The parsed spans by row; ordinary ones are not parsed."""

    calls: list[LlmCall] = field(default_factory=list)
    tools: list[ToolCall] = field(default_factory=list)
    agents: dict[int, AgentSpan] = field(default_factory=dict)
    evaluations: dict[int, Evaluation] = field(default_factory=dict)
    facts: list[tuple[Span, ToolFact]] = field(default_factory=list)
    """What messages between agents tell of tool calls."""

    answers: list[tuple[Span, AnswerFact]] = field(default_factory=list)
    """What spans around model calls tell of their answers."""

    embeddings: list[Embedding] = field(default_factory=list)

    leftovers: list[Span] = field(default_factory=list)
    """Spans that no dialect made anything of."""

    unread: Counter[str] = field(default_factory=Counter)
    """Spans nobody read that look like model traffic, by scope name."""

    unreadable: dict[int, str] = field(default_factory=dict)
    """Spans, by row, that a dialect knows and cannot read, each with its scope and the kind of error."""
