"""A span or log record with its JSON parsed, as dialects read it, and what they make of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from etl.schema import RejectReason

Message = dict[str, Any]
"""One canonical message; its shape is in `etl.schema`. Requests share those they have in common: never change the
messages of `LlmCall.input` in place."""


@dataclass(slots=True)
class LogRecord:
    """A log record that belongs to a span."""

    event_name: str
    time_ns: int
    body: Any
    attributes: dict[str, Any]
    scope: str = ""


@dataclass(slots=True)
class Span:
    """One span, as a dialect sees it: alone, with its own log records, without the tree around it."""

    index: int
    """Row of the span in the frame of its run."""

    project: str
    trace_id: str
    span_id: str
    parent_span_id: str | None
    name: str
    start_ns: int
    end_ns: int
    status_code: str | None
    status_message: str | None
    scope: str
    scope_version: str | None
    attributes: dict[str, Any]
    events: list[dict[str, Any]] = field(default_factory=list)
    logs: list[LogRecord] = field(default_factory=list)
    dropped_attributes: int = 0

    @property
    def failed(self) -> bool:
        """Tell whether the span ended with status ERROR."""
        return self.status_code == "error"


@dataclass(slots=True)
class LlmCall:
    """One model call. None means that the recording does not say."""

    span: Span
    dialect: str
    api: str | None = None
    agent: str | None = None
    provider: str | None = None
    model_requested: str | None = None
    model_returned: str | None = None
    streamed: bool | None = None
    params: dict[str, Any] = field(default_factory=dict)
    tools: list[dict[str, Any]] | None = None
    input: list[Message] | None = None
    output: list[Message] | None = None
    usage: dict[str, int | None] | None = None
    response_id: str | None = None
    conversation_id: str | None = None
    error: dict[str, Any] | None = None
    prompt_token_ids: NDArray[np.int64] | None = None
    response_token_ids: NDArray[np.int64] | None = None
    behavior_logprobs: NDArray[np.float64] | None = None
    logprobs_mode: str | None = None
    policy_version: str | None = None
    tokenizer_digest: str | None = None
    chat_template_digest: str | None = None
    prompt_name: str | None = None
    prompt_version: str | None = None
    truncated: bool = False
    """The SDK cut attribute values or dropped attributes, so the content may not be whole."""
    merged: list[Span] = field(default_factory=list)
    """Other spans of the same call, folded into this one."""

    finish_reasons: list[str] = field(default_factory=list)
    """Why each choice ended, where the answer itself is not recorded."""

    told: list["AnswerFact"] = field(default_factory=list)
    """What its request's history tells of earlier answers, where that is more than their own spans have."""

    pieced: set[str] = field(default_factory=set)
    """Fields put together from what neighbouring spans show: facts, but not the whole; nothing is trained on them."""

    previous_response_id: str | None = None
    """The response whose history, with its answer, the provider put before the request."""

    held_conversation: str | None = None
    """The conversation that the provider holds and put before the request."""

    added_to: int | None = None
    """Row of the call whose request and answer this request was put together from, without naming it."""

    incomplete: set[RejectReason] = field(default_factory=set)
    """What says that its messages are not the whole exchange; such a call is context of its episode, no transition."""

    beginnings: Sequence[int] = ()
    """Numbers of the question's beginnings, the empty one first, once given (`etl.episodes.lineage`)."""

    endings: Sequence[int] = ()
    """The number of the question followed by each of the answers."""

    choice: int = 0
    """Which of the answers is the action: the one that was gone on from (`etl.episodes.choices`)."""

    sampled: list[tuple[NDArray[np.int64] | None, NDArray[np.float64] | None]] = field(default_factory=list)
    """Token ids and log-probabilities of every choice, where there are several and any is known."""

    @property
    def answer(self) -> Message | None:
        """Return the answer that is the action."""
        return self.output[min(self.choice, len(self.output) - 1)] if self.output else None


@dataclass(slots=True)
class ToolCall:
    """One execution of a tool. None means that the recording does not say."""

    span: Span
    dialect: str
    name: str | None = None
    tool_call_id: str | None = None
    arguments: Any = None
    result: str | None = None
    error: str | None = None
    description: str | None = None
    parameters: Any = None
    """JSON schema of the arguments, where the span tells it."""

    asked_as: str | None = None
    """The name models know it by, where that is another."""


@dataclass(slots=True)
class AgentSpan:
    """A span below which an agent, a role with a name, is at work."""

    span: Span
    dialect: str
    name: str | None = None
    conversation_id: str | None = None
    tools: list[dict[str, Any]] | None = None
    system: str | None = None
    """The agent's instructions, where its own span is the only one to have them."""

    params: dict[str, Any] = field(default_factory=dict)
    """Sampling parameters that its span has for all of its calls."""

    streamed: bool | None = None


@dataclass(slots=True)
class ToolFact:
    """What a message tells of one tool call: what was asked for, or what came back."""

    tool_call_id: str
    name: str | None = None
    arguments: Any = None
    result: str | None = None
    error: str | None = None


@dataclass(slots=True)
class AnswerFact:
    """What a span around a model call tells of its answer, where that is more than the call's own span has."""

    response_id: str | None
    signature: str
    """The ids of the tool calls asked for, else the text: what an answer without id is known by."""

    text: str | None = None
    finish_reason: str | None = None
    model: str | None = None
    usage: dict[str, int | None] | None = None
    streamed: bool | None = None


@dataclass(slots=True)
class Evaluation:
    """A span that is itself a judgement (a judge's or grader's), so model calls below it are not the agent's."""

    span: Span
    dialect: str


@dataclass(slots=True)
class Embedding:
    """A call of an embeddings API: a model call, but no policy that acts."""

    call: LlmCall
    """Its model, usage and error; without messages."""

    texts: list[str]
    dimensions: list[int]
    """Length of each vector."""

    @classmethod
    def of(cls, call: LlmCall, dimensions: list[int]) -> "Embedding":
        """Take what was read as a model call, each text a message, for what it is."""
        texts = [message["text"] for message in call.input or () if message.get("text") is not None]
        call.api, call.input, call.output, call.finish_reasons = "embeddings", None, None, []
        if call.usage is not None:
            call.usage = {name: call.usage[name] for name in ("input_tokens", "output_tokens")}
        return cls(call, texts, dimensions)


Reading = LlmCall | ToolCall | AgentSpan | Evaluation | Embedding
