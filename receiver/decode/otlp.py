"""Export requests and answers on the wire: protobuf and OTLP/JSON in, one parsed and checked request out."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from google.protobuf.json_format import MessageToJson
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from receiver.decode.json_reading import JsonReader, read_document
from receiver.decode.native import NativeSpans, decode_spans
from receiver.decode.refusals import Undecodable
from receiver.decode.shared import MAX_EXPANDED_BYTES, MAX_INLINE_BYTES, MAX_NAME_LENGTH
from receiver.decode.wire_repair import Irreparable, repair_wire

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
        message, num_repaired = repair_wire(kind, body)
    except Irreparable as error:
        raise Undecodable(f"not an {kind.DESCRIPTOR.name}: {error}") from None
    return _check(signal, message.SerializeToString(), message, num_repaired)


def read_json(signal: Signal, body: bytes) -> Request:
    """Parse an OTLP/JSON request, mending it field by field. Raises `Undecodable` where nothing is left to store."""
    kind = REQUESTS[signal]
    document, num_mended = read_document(body)
    reader = JsonReader()
    message = kind()
    try:
        reader.fill(message, document)
    except RecursionError:
        raise Undecodable(f"not an {kind.DESCRIPTOR.name}: nested too deep") from None
    num_repaired = num_mended + reader.num_replaced
    request = _check(signal, message.SerializeToString(), message, num_repaired)
    if num_repaired and not request.num_items:
        raise Undecodable(f"not an {kind.DESCRIPTOR.name}: nothing in it could be read")
    return request


def _check(signal: Signal, body: bytes, message: Any, num_repaired: int) -> Request:  # noqa: ANN401 - generated classes
    num_cut = sum(_cut_names(resource) for resource in _resources(signal, message))
    if num_cut:
        num_repaired += num_cut
        body = message.SerializeToString()
    _expect_bounded(signal, message)
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


def _resources(signal: Signal, message: Any) -> Any:  # noqa: ANN401 - generated classes
    return message.resource_logs if signal is Signal.LOGS else message.resource_spans


def _scopes(resource: Any) -> Any:  # noqa: ANN401 - generated classes
    return resource.scope_logs if hasattr(resource, "scope_logs") else resource.scope_spans


def _cut_names(resource: Any) -> int:  # noqa: ANN401 - generated class
    """Cut the names of a resource and its scopes, which stand in every row, to a bounded length; return how many."""
    num_cut = 0
    for scope in _scopes(resource):
        for holder, field in ((scope.scope, "name"), (scope.scope, "version"), (scope, "schema_url")):
            num_cut += _cut_name(holder, field)
    return num_cut + _cut_name(resource, "schema_url")


def _cut_name(holder: Any, field: str) -> bool:  # noqa: ANN401 - generated class
    name = getattr(holder, field)
    if len(name) <= MAX_NAME_LENGTH:
        return False
    setattr(holder, field, name[:MAX_NAME_LENGTH])
    return True


def _expect_bounded(signal: Signal, message: Any) -> None:  # noqa: ANN401 - generated class
    """Raise `Undecodable` for a request whose rows would repeat what they share until memory is full."""
    num_bytes = 0
    for resource in _resources(signal, message):
        of_resource = min(resource.resource.ByteSize(), MAX_INLINE_BYTES)
        for scope in _scopes(resource):
            num_rows = len(scope.log_records if signal is Signal.LOGS else scope.spans)
            num_bytes += num_rows * max(of_resource, min(scope.scope.ByteSize(), MAX_INLINE_BYTES))
    if num_bytes > MAX_EXPANDED_BYTES:
        raise Undecodable(
            f"its resources and scopes would take {num_bytes >> 20} MiB in the rows they belong to; send fewer at once"
        )


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
