"""The gateway's encoding of spans, held against the stock encoder's."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from serve.evidence.otlp import encode

WHOLE = st.integers(-(2**63), 2**63 - 1)
DOUBLE = st.floats(allow_nan=False)
TEXT = st.text(max_size=100).filter(lambda text: text.isprintable())
VALUES = st.one_of(
    st.booleans(),
    WHOLE,
    DOUBLE,
    TEXT,
    st.lists(WHOLE, max_size=20).map(tuple),
    st.lists(DOUBLE, max_size=20).map(tuple),
    st.lists(st.booleans(), max_size=20).map(tuple),
    st.lists(TEXT, max_size=10).map(tuple),
)
SPANS = st.lists(st.dictionaries(st.text("abc.", min_size=1, max_size=6), VALUES, max_size=12), max_size=4)


def span(number: int, attributes: dict[str, Any]) -> ReadableSpan:
    """Return an ended span, every third with a parent and an error."""
    context = SpanContext(number + 1, number + 2, is_remote=False, trace_flags=TraceFlags(1))
    has_parent = number % 3 == 0
    return ReadableSpan(
        name=f"chat {number}",
        context=context,
        parent=SpanContext(number + 1, 99, is_remote=True) if has_parent else None,
        resource=Resource({"service.name": "s"}),
        attributes=attributes,
        kind=SpanKind.CLIENT,
        status=Status(StatusCode.ERROR, "503") if has_parent else Status(),
        start_time=1,
        end_time=2,
        instrumentation_scope=InstrumentationScope("scope", "1"),
    )


def in_order(request: ExportTraceServiceRequest) -> ExportTraceServiceRequest:
    """Return the request with the attributes of every span sorted by name."""
    for resource_spans in request.resource_spans:
        for scope_spans in resource_spans.scope_spans:
            for each in scope_spans.spans:
                each.attributes.sort(key=lambda attribute: attribute.key)
    return request


@given(SPANS)
def test_the_encoding_is_the_stock_encoders(attributes: list[dict[str, Any]]) -> None:
    """Field for field, whatever the attributes: numbers at their limits, true and 1, short lists and long ones."""
    spans = [span(number, each) for number, each in enumerate(attributes)]

    assert in_order(encode(spans)) == in_order(encode_spans(spans))
