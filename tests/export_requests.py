"""Small export requests for tests."""

from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

TRACE_ID = bytes.fromhex("0123456789abcdef0123456789abcdef")
START_NS = 1_760_000_000_000_000_000


def span(number: int = 1, *, name: str = "work", seconds: float = 1.0, **fields: Any) -> Span:
    values = {
        "trace_id": TRACE_ID,
        "span_id": number.to_bytes(8, "big"),
        "name": name,
        "start_time_unix_nano": START_NS,
        "end_time_unix_nano": START_NS + int(seconds * 1e9),
    }
    return Span(**{**values, **fields})


def attribute(key: str, value: str) -> KeyValue:
    return KeyValue(key=key, value=AnyValue(string_value=value))


def traces(*spans: Span, service: str = "agent") -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    resource.resource.attributes.append(attribute("service.name", service))
    scope = resource.scope_spans.add()
    scope.scope.name = "tests"
    scope.spans.extend(spans)
    return request


def logs(*bodies: str) -> ExportLogsServiceRequest:
    request = ExportLogsServiceRequest()
    scope = request.resource_logs.add().scope_logs.add()
    for body in bodies:
        scope.log_records.add(body=AnyValue(string_value=body), time_unix_nano=START_NS)
    return request
