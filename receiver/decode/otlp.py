"""Export requests and answers on the wire: protobuf and OTLP/JSON in, one parsed and checked request out."""

import base64
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import orjson
from google.protobuf.json_format import MessageToJson, ParseDict, ParseError
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from receiver.decode.native import NativeSpans, decode_spans
from receiver.decode.refusals import Undecodable
from receiver.decode.wire_repair import MAX_DEPTH, TOO_DEEP, Irreparable, repair

MAX_NS = 2**63 - 1
"""Latest instant a BIGINT of nanoseconds holds, in the year 2262."""


class Signal(IntEnum):
    """What a request carries. The numbers are written into the log."""

    TRACES = 1
    LOGS = 2


REQUESTS: dict[Signal, type[Any]] = {Signal.TRACES: ExportTraceServiceRequest, Signal.LOGS: ExportLogsServiceRequest}
RESPONSES: dict[Signal, type[Any]] = {
    Signal.TRACES: ExportTraceServiceResponse,
    Signal.LOGS: ExportLogsServiceResponse,
}


@dataclass(frozen=True)
class Request:
    """A parsed export request, counted and checked."""

    signal: Signal
    body: bytes
    """The request as protobuf that the strict parser accepts."""
    num_items: int
    """Spans or log records in it."""
    num_rejected: int
    """Those of them that can never be stored."""
    num_repaired: int
    """Fields replaced because they could not be read."""
    problem: str
    """Why items were rejected or fields replaced; empty when neither happened."""
    spans: NativeSpans | None = None
    """The decoded spans, where the compiled decoder took the request."""
    num_rewards_refused: int = 0
    """Evaluation events left out because the sender may not give rewards."""

    @property
    def message(self) -> Any:  # noqa: ANN401 - generated classes
        """The request as a protobuf message."""
        return REQUESTS[self.signal].FromString(self.body)


def read_protobuf(signal: Signal, body: bytes) -> Request:
    """Parse a protobuf request, mending fields the strict parser refuses. Raises `Undecodable`."""
    if signal is Signal.TRACES and (spans := decode_spans(body)) is not None:
        problem = _explain(spans.num_items, spans.num_rejected, looks_like_logs=spans.looks_like_logs)
        return Request(signal, body, spans.num_items, spans.num_rejected, 0, problem, spans)
    kind = REQUESTS[signal]
    try:
        return _check(signal, body, kind.FromString(body), 0)
    except DecodeError:
        pass
    try:
        message, num_repaired = repair(kind, body)
    except Irreparable as error:
        raise Undecodable(f"not an {kind.DESCRIPTOR.name}: {error}") from None
    return _check(signal, message.SerializeToString(), message, num_repaired)


def read_json(signal: Signal, body: bytes) -> Request:
    """Parse an OTLP/JSON request with its deviations from protobuf's JSON. Raises `Undecodable`.

    Ids are hex in any case, 64-bit integers strings or numbers, unknown fields ignored, as the specification says
    (opentelemetry.io/docs/specs/otlp, JSON Protobuf Encoding).
    """
    kind = REQUESTS[signal]
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        try:
            document = orjson.loads(body.decode("utf-8", errors="replace"))
        except orjson.JSONDecodeError:
            raise Undecodable(f"not JSON: {error}") from None
    if not isinstance(document, dict):
        raise Undecodable(f"not an {kind.DESCRIPTOR.name}: the body is not a JSON object")
    adapter = _JsonAdapter()
    try:
        message = ParseDict(adapter.adapt(document, depth=0), kind(), ignore_unknown_fields=True)
        encoded = message.SerializeToString()
    except (ParseError, ValueError, TypeError, AttributeError, RecursionError) as error:
        # The parser's message may quote a value, and values are nobody's business: only its kind is told.
        raise Undecodable(f"not an {kind.DESCRIPTOR.name}: {type(error).__name__}") from None
    return _check(signal, encoded, message, adapter.num_replaced)


class _JsonAdapter:
    """Rewrites OTLP/JSON into the JSON protobuf defines: ids in base64, values not deeper than can be kept."""

    ID_KEYS = frozenset({"traceId", "spanId", "parentSpanId", "trace_id", "span_id", "parent_span_id"})
    NESTING_KEYS = frozenset({"arrayValue", "kvlistValue", "array_value", "kvlist_value"})

    def __init__(self) -> None:
        self.num_replaced = 0

    def adapt(self, value: object, depth: int) -> object:
        if isinstance(value, list):
            return [self.adapt(item, depth) for item in value]
        if not isinstance(value, dict):
            return value
        if not self.NESTING_KEYS.isdisjoint(value):
            depth += 1
            if depth > MAX_DEPTH:
                self.num_replaced += 1
                return {"stringValue": TOO_DEEP}
        return {key: self._adapt_field(key, item, depth) for key, item in value.items()}

    def _adapt_field(self, key: str, value: object, depth: int) -> object:
        if key in self.ID_KEYS and isinstance(value, str):
            try:
                return base64.b64encode(bytes.fromhex(value)).decode()
            except ValueError:
                return ""  # an id of no use: the span is rejected, not the request
        return self.adapt(value, depth)


def _check(signal: Signal, body: bytes, message: Any, num_repaired: int) -> Request:  # noqa: ANN401 - generated classes
    num_items = num_rejected = 0
    problem = f"{num_repaired} fields could not be read and were replaced" if num_repaired else ""
    if signal is Signal.LOGS:
        for resource in message.resource_logs:
            for scope in resource.scope_logs:
                num_items += len(scope.log_records)
        return Request(signal, body, num_items, 0, num_repaired, problem)
    looks_like_logs = False
    for resource in message.resource_spans:
        for scope in resource.scope_spans:
            num_items += len(scope.spans)
            for span in scope.spans:
                if not is_usable(span):
                    num_rejected += 1
                    looks_like_logs |= not span.trace_id and span.name.startswith("\n")
    problem = _explain(num_items, num_rejected, looks_like_logs=looks_like_logs) or problem
    return Request(signal, body, num_items, num_rejected, num_repaired, problem)


def _explain(num_items: int, num_rejected: int, *, looks_like_logs: bool) -> str:
    if not num_rejected:
        return ""
    return (
        f"{num_rejected} of {num_items} spans rejected: a trace id has 16 bytes, a span id 8, neither all zero, "
        "and times end in the year 2262"
    ) + ("; this looks like logs, which go to the logs endpoint" if looks_like_logs else "")


ZERO_TRACE_ID = bytes(16)
ZERO_SPAN_ID = bytes(8)


def is_usable(span: Any) -> bool:  # noqa: ANN401 - generated class
    """Tell whether a span can be stored: its ids identify it and its times fit."""
    return (
        len(span.trace_id) == 16
        and len(span.span_id) == 8
        and span.trace_id != ZERO_TRACE_ID
        and span.span_id != ZERO_SPAN_ID
        and span.start_time_unix_nano <= MAX_NS
        and span.end_time_unix_nano <= MAX_NS
    )


def answer(request: Request, *, as_json: bool) -> bytes:
    """Encode the answer to a stored request: empty, or saying what of it was not stored."""
    if not request.num_rejected and not request.problem:
        return b"{}" if as_json else b""
    response = RESPONSES[request.signal]()
    response.partial_success.error_message = request.problem
    if request.signal is Signal.TRACES:
        response.partial_success.rejected_spans = request.num_rejected
    else:
        response.partial_success.rejected_log_records = request.num_rejected
    encoded: bytes = MessageToJson(response, indent=None).encode() if as_json else response.SerializeToString()
    return encoded
