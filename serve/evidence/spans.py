"""The gateway's own spans: what was asked, what was sampled, with which ids, log-probabilities and policy.

One span a call, in the caller's trace when it sent `traceparent`, else in a trace of its own. How spans reach the
receiver is `serve.evidence.delivery`. A caller that sent a context it does not sample gets no span, as OpenTelemetry's
parent-based sampling has it.
"""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from opentelemetry.context import Context
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace import Span as SdkSpan
from opentelemetry.sdk.trace import Tracer as SdkTracer
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased
from opentelemetry.trace import Span, SpanContext, SpanKind, Status, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from otel_exporter import schema as names
from serve.api.answers import Recording, split_prompts
from serve.evidence.content import as_utf8, content_attributes, mappings, tool_function
from serve.evidence.decoding import Decoder
from serve.evidence.delivery import Delivery

MAX_FLOAT = sys.float_info.max


@dataclass(frozen=True)
class Policy:
    """The model that answers, as every span records it."""

    version: str
    tokenizer_digest: str | None
    chat_template_digest: str | None
    decoder: Decoder | None = field(default=None, compare=False, repr=False)
    """Checks ids against text; null for a model whose tokenizer cannot be read."""

    base: str | None = None
    """Version of the whole model under an adapter."""


@dataclass(frozen=True)
class PromptUse:
    """The version of a prompt that a call was answered under."""

    name: str
    """The agent's."""

    version: str
    """Its number; 0 is what the agent itself sends."""

    arm: str | None = None
    """`live` or `canary`, while a version is tried."""

    unit: str | None = None
    """What was given to that arm as a whole, hashed."""


@dataclass(frozen=True)
class Caller:
    """Who asks, as far as the request says."""

    episode: str | None = None
    agent: str | None = None
    task: str | None = None
    project: str | None = None
    """Project of the key the call came with; no header can say it."""

    arm: str | None = None
    """`live` or `canary`, while a canary runs."""

    handover: tuple[str, str] | None = None
    """Arm and unit, while users are handed over from a hosted model to the student."""

    prompt: PromptUse | None = None
    """Null where its system message is nobody's we know."""

    replay: str | None = None
    """Name of the replay that asks, which no agent does."""

    unit: str | None = None
    """What was given to that arm as a whole, hashed."""


@dataclass(frozen=True)
class Answered:
    """Which of two who could have answered a call did."""

    by: str
    """`student` or `hosted`."""

    because: str | None = None
    """Why the hosted model was asked; null where it was not."""


@dataclass(frozen=True)
class Call:
    """One call, answered or not."""

    is_chat: bool
    request: Mapping[str, Any]
    """The request as the engine got it, every sampling parameter named."""

    policy: Policy | None
    """What answered; null for a model of somebody else's, of which nothing is known but its text."""

    provider: str
    recording: Recording
    error: str | None = None
    """Why the client got no whole answer: an HTTP status or the name of what happened."""

    caller: Caller = Caller()
    answered: Answered | None = None
    """Null where nobody else could have answered."""


def make_provider(evidence: SpanProcessor) -> TracerProvider:
    """Return a tracer provider of the gateway's own, beside whatever the process has."""
    provider = TracerProvider(
        sampler=ParentBased(ALWAYS_ON),
        resource=Resource.create({SERVICE_NAME: os.environ.get("OTEL_SERVICE_NAME", "spanloop-gateway")}),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(evidence)
    return provider


def caller_context(headers: Mapping[str, str]) -> Context:
    """Return the trace context a request came with; an empty one where it sent none, never our own."""
    carrier = {name.lower(): value for name, value in headers.items() if name.lower() in {"traceparent", "tracestate"}}
    return TraceContextTextMapPropagator().extract(carrier, context=Context())


def start_span(tracer: Tracer, headers: Mapping[str, str], *, is_chat: bool, model: str) -> Span:
    """Begin the span of one call."""
    operation = _operation(is_chat=is_chat)
    return tracer.start_span(f"{operation} {model}", context=caller_context(headers), kind=SpanKind.CLIENT)


def end_span(tracer: Tracer, span: Span, call: Call, end_ns: int, evidence: Delivery | None = None) -> None:
    """End the span with everything that is known; one there is no room for is forgotten before any work.

    Of a completion of several prompts there is one for each, since a span has one prompt.

    What is handed on is a span of its own: on the way through the SDK's own, every number of a list would be looked at
    and copied, and the limits that OTEL_*_LIMIT variables set for other spans would hold. Evidence cut short is none.
    """
    if not isinstance(span, SdkSpan) or not span.is_recording():
        return
    assert isinstance(tracer, SdkTracer), "it made the span"
    context = span.get_span_context()
    parts = [(call.request, call.recording)] if call.is_chat else split_prompts(call.request, call.recording)
    for request, recording in parts:
        part = replace(call, request=request, recording=recording)
        _end_part(tracer, span, context, part, end_ns, evidence)
        own_id = tracer.id_generator.generate_span_id()  # of the next prompt, a span beside this one
        context = SpanContext(context.trace_id, own_id, context.is_remote, context.trace_flags, context.trace_state)


def _end_part(
    tracer: SdkTracer, span: SdkSpan, context: SpanContext, call: Call, end_ns: int, evidence: Delivery | None
) -> None:
    if evidence is not None and not evidence.has_room():
        return
    error = call.error or call.recording.error
    try:
        found = attributes(call)
    except Exception as failure:
        if evidence is None:
            raise
        evidence.lose("unencodable", 1, because=f"{type(failure).__name__}: {failure}")
        return
    found = {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}
    if error is not None:
        found["error.type"] = error
    ended = ReadableSpan(
        name=span.name,
        context=context,
        parent=span.parent,
        resource=span.resource,
        attributes=found,
        kind=span.kind,
        instrumentation_scope=span.instrumentation_scope,
        status=Status() if error is None else Status(StatusCode.ERROR, error),
        start_time=span.start_time,
        end_time=end_ns,
    )
    tracer.span_processor.on_end(ended)


def attributes(call: Call) -> dict[str, AttributeValue]:
    """Return the attributes of one call: OpenTelemetry's GenAI names first, ours for what they do not have."""
    recording = call.recording
    choices = [recording.choices[index] for index in sorted(recording.choices)]
    found: dict[str, AttributeValue | None] = {
        "gen_ai.operation.name": _operation(is_chat=call.is_chat),
        "gen_ai.provider.name": call.provider,
        **_request_attributes(call.request),
        "gen_ai.response.id": _text(recording.id),
        "gen_ai.response.model": _text(recording.model),
        "gen_ai.response.finish_reasons": [_text(choice.finish_reason) or "" for choice in choices] or None,
        **_policy_attributes(call.policy),
        names.ANSWERED_BY: None if call.answered is None else call.answered.by,
        names.FALLBACK_REASON: None if call.answered is None else call.answered.because,
        names.CANARY_ARM: call.caller.arm,
        names.CANARY_UNIT: call.caller.unit,
        names.EPISODE_ID: call.caller.episode,
        names.AGENT_NAME: call.caller.agent,
        names.TASK_ID: call.caller.task,
        names.REPLAY: call.caller.replay,
        names.CALLER_PROJECT: call.caller.project,
        **_prompt_attributes(call.caller.prompt),
        **dict(zip((names.HANDOVER_ARM, names.HANDOVER_UNIT), call.caller.handover or (), strict=False)),
        **content_attributes(call.request, choices, is_chat=call.is_chat),
        **_tokens(call),
    }
    return {name: value for name, value in found.items() if value is not None}


def _prompt_attributes(prompt: PromptUse | None) -> dict[str, AttributeValue | None]:
    if prompt is None:
        return {}
    return {
        names.PROMPT_NAME: prompt.name,
        names.PROMPT_VERSION: prompt.version,
        names.PROMPT_ARM: prompt.arm,
        names.PROMPT_UNIT: prompt.unit,
    }


def _policy_attributes(policy: Policy | None) -> dict[str, AttributeValue | None]:
    if policy is None:
        return {}
    return {
        names.POLICY_VERSION: policy.version,
        names.POLICY_BASE: policy.base,
        names.TOKENIZER_DIGEST: policy.tokenizer_digest,
        names.CHAT_TEMPLATE_DIGEST: policy.chat_template_digest,
    }


def _operation(*, is_chat: bool) -> Literal["chat", "text_completion"]:
    return "chat" if is_chat else "text_completion"


def _request_attributes(request: Mapping[str, Any]) -> dict[str, AttributeValue | None]:
    stop = request.get("stop")
    max_tokens = request.get("max_completion_tokens")
    num_choices = _int(request.get("n"))
    return {
        "gen_ai.request.model": _text(request.get("model")),
        "gen_ai.request.temperature": _float(request.get("temperature")),
        "gen_ai.request.top_p": _float(request.get("top_p")),
        "gen_ai.request.top_k": _int(request.get("top_k")),
        names.REQUEST_MIN_P: _float(request.get("min_p")),
        names.REQUEST_REPETITION_PENALTY: _float(request.get("repetition_penalty")),
        "gen_ai.request.frequency_penalty": _float(request.get("frequency_penalty")),
        "gen_ai.request.presence_penalty": _float(request.get("presence_penalty")),
        "gen_ai.request.max_tokens": _int(request.get("max_tokens") if max_tokens is None else max_tokens),
        "gen_ai.request.seed": _int(request.get("seed")),
        "gen_ai.request.stop_sequences": _texts([stop] if isinstance(stop, str) else stop),
        "gen_ai.request.choice.count": num_choices if num_choices != 1 else None,
        "gen_ai.request.stream": True if request.get("stream") else None,
        "gen_ai.openai.request.previous_response_id": _text(request.get("previous_response_id")),
    }


# A request is whatever a client sent: what is not of the type an attribute has is left out.


def _float(value: Any) -> float | None:  # noqa: ANN401 - a JSON value
    # A whole number becomes a double too, so that an attribute has one type on every span.
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= MAX_FLOAT
    return float(value) if is_number else None


def _int(value: Any) -> int | None:  # noqa: ANN401
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    return value if is_whole and -(2**63) <= value < 2**63 else None


def _text(value: Any) -> str | None:  # noqa: ANN401
    return as_utf8(value) if isinstance(value, str) else None


def _texts(value: Any) -> list[str] | None:  # noqa: ANN401
    found = [as_utf8(each) for each in value if isinstance(each, str)] if isinstance(value, list) else []
    return found or None


def is_masked(request: Mapping[str, Any]) -> bool:
    """Tell whether a request has the engine cut the distribution beyond temperature, top_p, top_k and min_p.

    >>> is_masked({"response_format": {"type": "json_object"}}), is_masked({"tool_choice": "auto", "tools": [{}]})
    (True, False)
    >>> is_masked({"tools": [{"function": {"name": "f", "strict": True}}]})
    True
    """
    choice = request.get("tool_choice")
    shape = request.get("response_format")
    return (
        (shape.get("type", "text") != "text" if isinstance(shape, Mapping) else bool(shape))
        or choice not in (None, "auto", "none")
        or (choice != "none" and any(tool_function(tool).get("strict") for tool in mappings(request.get("tools"))))
        or any(request.get(name) for name in MASKING)
        or request.get("repetition_penalty") not in (None, 1, 1.0)
    )


MASKING = (
    "structured_outputs",
    "guided_json",
    "guided_regex",
    "guided_choice",
    "guided_grammar",
    "logit_bias",
    "allowed_token_ids",
    "bad_words",
    "min_tokens",
    "frequency_penalty",
    "presence_penalty",
)
"""Parameters that move or cut probabilities in ways the recorded ids do not tell; a zero or empty one does nothing."""


def _tokens(call: Call) -> dict[str, AttributeValue | None]:
    """Return ids and log-probabilities; the latter only where there is one for each id and the ids say the text."""
    recording = call.recording
    if call.policy is None:
        return {f"gen_ai.usage.{side}": _int(recording.usage.get(side)) for side in ("input_tokens", "output_tokens")}
    decoder = call.policy.decoder
    choices = recording.choices
    found: dict[str, AttributeValue | None] = {names.PROMPT_TOKEN_IDS: recording.prompt_token_ids}
    has_logprobs = False
    for index, choice in choices.items():
        if choice.token_ids:
            found[names.CHOICE_TOKEN_IDS.format(index=index)] = choice.token_ids
            matches = None if decoder is None else decoder.matches(choice)
            found[names.CHOICE_TEXT_MATCHES.format(index=index)] = matches
            if len(choice.logprobs) == len(choice.token_ids) and matches is not False:
                found[names.CHOICE_LOGPROBS.format(index=index)] = choice.logprobs
                has_logprobs = True
    if has_logprobs:
        found[names.LOGPROBS_MODE] = "masked" if is_masked(call.request) else "processed"
    if recording.prompt_token_ids is not None:
        found["gen_ai.usage.input_tokens"] = len(recording.prompt_token_ids)
        found["gen_ai.usage.output_tokens"] = sum(len(choice.token_ids) for choice in choices.values())
    return found
