"""The gateway's own spans: what was asked, what was sampled, with which ids, log-probabilities and policy.

One span a call, in the caller's trace when it sent `traceparent`, else in a trace of its own. Spans leave through the
stock OTLP exporter behind a bounded queue: when the receiver is away they are dropped, and no answer waits for them.
A caller that sent a context it does not sample gets no span either, as OpenTelemetry's parent-based sampling has it.
"""

import contextlib
import logging
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson
from opentelemetry.context import Context
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace import Span as SdkSpan
from opentelemetry.sdk.trace import Tracer as SdkTracer
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from otel_exporter import schema as names
from serve.api.answers import Choice, Recording
from serve.evidence.decoding import Decoder

DEFAULT_ENDPOINT = "http://127.0.0.1:4317"

MAX_QUEUED_SPANS = 4096
"""Spans waiting for the exporter; above it new ones are dropped. About 20 KB each for a call of 1,000 tokens."""

EXPORT_BATCH = 128
"""Spans an export request, small enough for the receivers' usual 4 MiB limit on messages of long token lists."""

EXPORT_DELAY_MS = 500


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
class Caller:
    """Who asks, as far as the request says."""

    episode: str | None = None
    agent: str | None = None
    task: str | None = None
    project: str | None = None
    """Project of the key the call came with; no header can say it."""

    arm: str | None = None
    """`live` or `canary`, while a canary runs."""

    unit: str | None = None
    """What was given to that arm as a whole, hashed."""


@dataclass(frozen=True)
class Call:
    """One call, answered or not."""

    is_chat: bool
    request: Mapping[str, Any]
    """The request as the engine got it, every sampling parameter named."""

    policy: Policy
    provider: str
    recording: Recording
    error: str | None = None
    """Why the client got no whole answer: an HTTP status or the name of what happened."""

    caller: Caller = Caller()


class CountingExporter(SpanExporter):
    """Counts what becomes of spans on their way to the receiver.

    The SDK's processor drops what its queue has no room for without saying how many; `has_room` is asked first, so that
    its queue never overflows and every drop is ours, and counted.
    """

    def __init__(self, exporter: SpanExporter, *, max_waiting: int = 0) -> None:
        self._exporter = exporter
        self._max_waiting = max_waiting or MAX_QUEUED_SPANS
        self.num_ended = 0
        self.num_dropped = 0
        """Spans there was no room for: the receiver is away, or slower than the calls."""

        self.num_taken = 0
        self.num_exported = 0
        self.num_failed = 0
        """Spans the receiver refused, or did not take before the exporter gave up."""

    def has_room(self) -> bool:
        """Make room for one more span, or count it as dropped."""
        if self.num_ended - self.num_taken >= self._max_waiting:
            self.num_dropped += 1
            return False
        self.num_ended += 1
        return True

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Hand a batch on; called by the processor's one thread."""
        self.num_taken += len(spans)
        result = self._exporter.export(spans)
        if result is SpanExportResult.SUCCESS:
            self.num_exported += len(spans)
        else:
            self.num_failed += len(spans)
        return result

    def shutdown(self) -> None:
        """Give up an export that is waiting to try again, and take no more."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Wait for the exporter's own buffer, where it has one."""
        return self._exporter.force_flush(timeout_millis)

    def counts(self) -> dict[str, int]:
        """Return the counters by name."""
        return {
            "num_spans_exported": self.num_exported,
            "num_spans_dropped": self.num_dropped,
            "num_spans_failed": self.num_failed,
            "num_spans_waiting": self.num_ended - self.num_exported - self.num_failed,
        }


def make_provider(exporter: SpanExporter) -> TracerProvider:
    """Return a tracer provider of the gateway's own, beside whatever the process has."""
    provider = TracerProvider(
        sampler=ParentBased(ALWAYS_ON),
        resource=Resource.create({SERVICE_NAME: os.environ.get("OTEL_SERVICE_NAME", "spanloop-gateway")}),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(
        BatchSpanProcessor(
            exporter,
            max_queue_size=MAX_QUEUED_SPANS,  # never reached: `CountingExporter` keeps it from filling
            max_export_batch_size=EXPORT_BATCH,
            schedule_delay_millis=EXPORT_DELAY_MS,
        )
    )
    return provider


def close_provider(provider: TracerProvider, exporter: SpanExporter, *, timeout_s: float) -> None:
    """Send what is queued, but not for longer than this: an absent receiver must not keep the gateway from ending.

    The SDK's own timeouts do not hold here (opentelemetry-python #4568), hence the thread.
    """
    closing = threading.Thread(target=provider.shutdown, daemon=True)
    closing.start()
    closing.join(timeout_s)
    exporter.shutdown()  # interrupts an export that is waiting to try again
    closing.join(1)


def make_exporter(endpoint: str | None) -> SpanExporter:
    """Return the stock OTLP exporter; what is not given comes from the standard OTEL_EXPORTER_OTLP_* variables."""
    # The exporter reports every attempt; an export that failed for good is worth a line.
    logging.getLogger("opentelemetry.exporter").setLevel(logging.ERROR)
    protocol = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    if protocol == "http/protobuf":
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter

        return HttpExporter(endpoint=None if endpoint is None else f"{endpoint.rstrip('/')}/v1/traces")
    from serve.evidence.otlp import GrpcExporter

    is_named = any(os.environ.get(f"OTEL_EXPORTER_OTLP_{name}") for name in ("TRACES_ENDPOINT", "ENDPOINT"))
    return GrpcExporter(endpoint=endpoint or (None if is_named else DEFAULT_ENDPOINT))


def caller_context(headers: Mapping[str, str]) -> Context:
    """Return the trace context a request came with; an empty one where it sent none, never our own."""
    carrier = {name.lower(): value for name, value in headers.items() if name.lower() in {"traceparent", "tracestate"}}
    return TraceContextTextMapPropagator().extract(carrier, context=Context())


def start_span(tracer: Tracer, headers: Mapping[str, str], *, is_chat: bool, model: str) -> Span:
    """Begin the span of one call."""
    operation = _operation(is_chat=is_chat)
    return tracer.start_span(f"{operation} {model}", context=caller_context(headers), kind=SpanKind.CLIENT)


def end_span(tracer: Tracer, span: Span, call: Call, end_ns: int, exporter: CountingExporter | None = None) -> None:
    """End the span with everything that is known; one there is no room for is forgotten before any work.

    What is handed on is a span of its own: on the way through the SDK's own, every number of a list would be looked at
    and copied, and the limits that OTEL_*_LIMIT variables set for other spans would hold. Evidence cut short is none.
    """
    if not isinstance(span, SdkSpan) or not span.is_recording():
        return
    assert isinstance(tracer, SdkTracer), "it made the span"
    if exporter is not None and not exporter.has_room():
        return
    error = call.error or call.recording.error
    found = {name: tuple(value) if isinstance(value, list) else value for name, value in attributes(call).items()}
    if error is not None:
        found["error.type"] = error
    ended = ReadableSpan(
        name=span.name,
        context=span.get_span_context(),
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
        "gen_ai.response.id": recording.id,
        "gen_ai.response.model": recording.model,
        "gen_ai.response.finish_reasons": [choice.finish_reason or "" for choice in choices] or None,
        names.POLICY_VERSION: call.policy.version,
        names.POLICY_BASE: call.policy.base,
        names.CANARY_ARM: call.caller.arm,
        names.CANARY_UNIT: call.caller.unit,
        names.TOKENIZER_DIGEST: call.policy.tokenizer_digest,
        names.CHAT_TEMPLATE_DIGEST: call.policy.chat_template_digest,
        names.EPISODE_ID: call.caller.episode,
        names.AGENT_NAME: call.caller.agent,
        names.TASK_ID: call.caller.task,
        names.CALLER_PROJECT: call.caller.project,
        **_content(call, choices),
        **_tokens(call),
    }
    return {name: value for name, value in found.items() if value is not None}


def _operation(*, is_chat: bool) -> Literal["chat", "text_completion"]:
    return "chat" if is_chat else "text_completion"


def _request_attributes(request: Mapping[str, Any]) -> dict[str, AttributeValue | None]:
    stop = request.get("stop")
    max_tokens = request.get("max_completion_tokens")
    num_choices = request.get("n")
    return {
        "gen_ai.request.model": request.get("model"),
        "gen_ai.request.temperature": _float(request.get("temperature")),
        "gen_ai.request.top_p": _float(request.get("top_p")),
        "gen_ai.request.top_k": request.get("top_k"),
        names.REQUEST_MIN_P: _float(request.get("min_p")),
        names.REQUEST_REPETITION_PENALTY: _float(request.get("repetition_penalty")),
        "gen_ai.request.frequency_penalty": _float(request.get("frequency_penalty")),
        "gen_ai.request.presence_penalty": _float(request.get("presence_penalty")),
        "gen_ai.request.max_tokens": request.get("max_tokens") if max_tokens is None else max_tokens,
        "gen_ai.request.seed": request.get("seed"),
        "gen_ai.request.stop_sequences": [stop] if isinstance(stop, str) else stop or None,
        "gen_ai.request.choice.count": num_choices if num_choices not in (None, 1) else None,
        "gen_ai.request.stream": True if request.get("stream") else None,
    }


def _float(value: Any) -> float | None:  # noqa: ANN401 - a JSON value
    # A whole number becomes a double too, so that an attribute has one type on every span.
    return float(value) if isinstance(value, int | float) else None


def is_masked(request: Mapping[str, Any]) -> bool:
    """Tell whether a request has the engine cut the distribution beyond temperature, top_p, top_k and min_p.

    >>> is_masked({"response_format": {"type": "json_object"}}), is_masked({"tool_choice": "auto", "tools": [{}]})
    (True, False)
    >>> is_masked({"tools": [{"function": {"name": "f", "strict": True}}]})
    True
    """
    choice = request.get("tool_choice")
    tools = request.get("tools") or ()
    return (
        (request.get("response_format") or {}).get("type", "text") != "text"
        or choice not in (None, "auto", "none")
        or (choice != "none" and any((tool.get("function") or {}).get("strict") for tool in tools))
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
    recording, decoder = call.recording, call.policy.decoder
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


# --- content, in the shape of the GenAI conventions: messages made of parts, as JSON text


def _content(call: Call, choices: list[Choice]) -> dict[str, AttributeValue | None]:
    if not call.is_chat:
        prompt = call.request.get("prompt")
        text = prompt if isinstance(prompt, str) else None  # ids are on the span already
        inputs = [{"role": "user", "parts": [{"type": "text", "content": text}]}] if text is not None else []
    else:
        inputs = [input_message(message) for message in call.request.get("messages") or ()]
    tools = call.request.get("tools") or ()
    return {
        "gen_ai.input.messages": _json(inputs),
        "gen_ai.output.messages": _json([output_message(choice) for choice in choices]),
        "gen_ai.tool.definitions": _json([_tool_definition(tool) for tool in tools]),
    }


def _json(value: list[Any]) -> str | None:
    return orjson.dumps(value).decode() if value else None


def input_message(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return an OpenAI message of a request as a message made of parts."""
    if message.get("role") == "tool":
        response = {"type": "tool_call_response", "id": message.get("tool_call_id"), "response": message.get("content")}
        return {"role": "tool", "parts": [response]}
    content = message.get("content")
    parts: list[Any] = []
    if reasoning := message.get("reasoning") or message.get("reasoning_content"):
        parts.append({"type": "reasoning", "content": reasoning})
    if isinstance(content, str):
        parts.append({"type": "text", "content": content})
    else:
        parts += [_content_part(part) for part in content or ()]
    parts += [_call_part(call.get("id"), call.get("function") or {}) for call in message.get("tool_calls") or ()]
    return {"role": message.get("role"), "parts": parts}


def _content_part(part: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "text", "content": part["text"]} if "text" in part else dict(part)


def output_message(choice: Choice) -> dict[str, Any]:
    """Return a recorded choice as a message made of parts."""
    parts: list[dict[str, Any]] = []
    if choice.reasoning:
        parts.append({"type": "reasoning", "content": choice.reasoning})
    if choice.text:
        parts.append({"type": "text", "content": choice.text})
    if choice.refusal:
        parts.append({"type": "refusal", "content": choice.refusal})
    parts += [_call_part(call["id"], call) for _, call in sorted(choice.tool_calls.items())]
    return {"role": "assistant", "parts": parts, "finish_reason": choice.finish_reason or ""}


def _call_part(call_id: str | None, function: Mapping[str, Any]) -> dict[str, Any]:
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        with contextlib.suppress(orjson.JSONDecodeError):  # what a model wrote need not be JSON: then kept as it is
            arguments = orjson.loads(arguments)
    return {"type": "tool_call", "id": call_id, "name": function.get("name"), "arguments": arguments}


def _tool_definition(tool: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": tool.get("type", "function"), **(tool.get("function") or {})}
