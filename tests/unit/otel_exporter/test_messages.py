"""A stage over an OTLP request: every place of it that says something, and nothing else changed."""

from collections.abc import Mapping
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_exporter.messages import change


class Hiding:
    """Puts a mark where a secret stood."""

    def text(self, text: str) -> str:
        return text.replace("secret", "<gone>")

    def span(self, *parts: Mapping[str, Any]) -> tuple[list[dict[str, Any]], int]:
        done = [{key: self._value(value) for key, value in part.items()} for part in parts]
        changed = sum(old[key] != new[key] for old, new in zip(parts, done, strict=True) for key in new)
        return done, changed

    def _value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {key: self._value(one) for key, one in value.items()}
        if isinstance(value, list):
            return [self._value(one) for one in value]
        return value


def put(attributes: Any, key: str = "a", text: str = "secret") -> None:
    attributes.add(key=key).value.string_value = text


def test_nothing_of_a_trace_is_passed_over() -> None:
    """Resource, scope, span, event, link; names and the message of its status too."""
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    scope = resource.scope_spans.add()
    span = scope.spans.add(name="secret", trace_id=b"t" * 16, trace_state="a=secret")
    span.status.message = "a secret"
    event, link = span.events.add(name="secret"), span.links.add(trace_state="a=secret")
    for holder in (resource.resource, scope.scope, span, event, link):
        put(holder.attributes)

    assert change(request, Hiding()) == 10
    assert b"secret" not in request.SerializeToString()
    assert span.trace_id == b"t" * 16


def test_nothing_of_a_log_record_is_passed_over() -> None:
    """Its attributes, body, the name of its event and its severity."""
    request = ExportLogsServiceRequest()
    record = request.resource_logs.add().scope_logs.add().log_records.add(severity_text="secret")
    record.body.string_value = "secret"
    put(record.attributes)
    has_name = hasattr(record, "event_name")  # not in OpenTelemetry 1.30
    if has_name:
        record.event_name = "secret"

    assert change(request, Hiding()) == 3 + has_name
    assert b"secret" not in request.SerializeToString()


@pytest.mark.parametrize("is_nested", [False, True])
@pytest.mark.parametrize("kind", ["span", "record", "body"])
def test_a_name_that_stands_twice_hides_nothing(kind: str, is_nested: bool) -> None:
    """The last counts, as everywhere; what stood before it is gone, and somebody is told that the request changed."""
    request: ExportLogsServiceRequest | ExportTraceServiceRequest
    if kind == "span":
        request = ExportTraceServiceRequest()
        held: Any = request.resource_spans.add().scope_spans.add().spans.add().attributes
    else:
        request = ExportLogsServiceRequest()
        record = request.resource_logs.add().scope_logs.add().log_records.add()
        held = record.attributes if kind == "record" else record.body.kvlist_value.values
    if is_nested:
        inner = held.add(key="list").value.array_value.values.add().kvlist_value.values
        held = inner
    put(held)
    put(held, "b", "kept")
    put(held, text="open")

    assert change(request, Hiding()) == 1
    assert [(pair.key, pair.value.string_value) for pair in held] == [("b", "kept"), ("a", "open")]
    assert b"secret" not in request.SerializeToString()


def test_values_of_every_kind_stay_what_they_are() -> None:
    """Lists and maps are walked; numbers, truth and bytes are as they were."""
    request = ExportLogsServiceRequest()
    record = request.resource_logs.add().scope_logs.add().log_records.add()
    held = record.body.kvlist_value.values
    put(held, "text")
    for kind, value in (("int_value", 2**60), ("double_value", 0.5), ("bool_value", True), ("bytes_value", b"secret")):
        setattr(held.add(key=kind).value, kind, value)
    held.add(key="list").value.array_value.values.add().string_value = "secret"

    change(request, Hiding())

    found = {pair.key: pair.value for pair in record.body.kvlist_value.values}
    assert found["text"].string_value == "<gone>"
    assert found["list"].array_value.values[0].string_value == "<gone>"
    assert (found["int_value"].int_value, found["double_value"].double_value) == (2**60, 0.5)
    assert (found["bool_value"].bool_value, found["bytes_value"].bytes_value) == (True, b"secret")


def test_a_request_that_nothing_is_hidden_in_is_the_same() -> None:
    """Byte for byte."""
    request = ExportTraceServiceRequest()
    put(request.resource_spans.add().scope_spans.add().spans.add(name="x").attributes, text="open")
    before = request.SerializeToString()

    assert change(request, Hiding()) == 0
    assert request.SerializeToString() == before
