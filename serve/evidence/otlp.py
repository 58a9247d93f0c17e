"""Spans as OTLP requests, with long lists of numbers written at once and what recurs encoded once.

The stock encoder makes several message objects for each number and each setting: for a call of 90 prompt and 48
response tokens a third of what the gateway spends on it. Here protobuf reads them from bytes put together from tables;
the rest is the stock encoder's work, and so is sending.
"""

import struct
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext

LONG = 8
"""Numbers from which on a list is worth it."""

SHORT = 64
"""Length of a text up to which it is worth remembering as encoded."""

BARE = ReadableSpan("", SpanContext(1, 1, is_remote=False))
"""What an attribute is encoded on."""

DOUBLE = struct.Struct("<3sd")
DOUBLE_HEAD = b"\x0a\x09\x21"
"""Field 1 of ArrayValue (a value), its length; field 4 of AnyValue (double), fixed 64 bits: opentelemetry-proto
common.proto, protobuf encoding guide."""


def encode(spans: Sequence[ReadableSpan]) -> ExportTraceServiceRequest:
    """Return the request the stock encoder makes of these spans; only the order of a span's attributes is another."""
    bare, own = [], {}
    for span in spans:
        others, own[span.context.span_id.to_bytes(8, "big")] = _encode_own(span.attributes or {})
        bare.append(_with_attributes(span, others))
    request = encode_spans(bare)
    for resource_spans in request.resource_spans:
        for scope_spans in resource_spans.scope_spans:
            for encoded in scope_spans.spans:
                encoded.MergeFromString(own[encoded.span_id])
    return request


def halve(body: bytes) -> list[tuple[bytes, int]]:
    """Return the two halves of an encoded request, each with its number of spans."""
    halves = []
    for is_second in (False, True):
        request = ExportTraceServiceRequest.FromString(body)
        scopes = [scope for resource in request.resource_spans for scope in resource.scope_spans]
        num_spans = sum(len(scope.spans) for scope in scopes)
        place = 0
        for scope in scopes:
            kept = [span for at, span in enumerate(scope.spans, place) if (at >= num_spans // 2) == is_second]
            place += len(scope.spans)
            del scope.spans[:]
            scope.spans.extend(kept)
        halves.append((request.SerializeToString(), num_spans - num_spans // 2 if is_second else num_spans // 2))
    return halves


def _encode_own(attributes: Mapping[str, Any]) -> tuple[dict[str, Any], bytes]:
    """Split attributes into what is left to the stock encoder and the rest, encoded as part of a span."""
    others, encoded, lists = {}, [], Span()
    for name, value in attributes.items():
        if isinstance(value, int | float) or (isinstance(value, str) and len(value) <= SHORT):
            encoded.append(_encode_attribute(name, value))
        elif isinstance(value, tuple) and len(value) >= LONG and type(value[0]) in (int, float):
            lists.attributes.add(key=name).value.array_value.MergeFromString(encode_numbers(value))
        else:
            others[name] = value
    return others, b"".join([*encoded, lists.SerializeToString()])


def encode_numbers(numbers: Sequence[int] | Sequence[float]) -> bytes:
    """Return an OTLP `ArrayValue` of whole numbers or of doubles, as bytes.

    >>> ArrayValue.FromString(encode_numbers([3, 300])) == ArrayValue(
    ...     values=[AnyValue(int_value=3), AnyValue(int_value=300)]
    ... )
    True
    """
    if isinstance(numbers[0], float):
        return b"".join([DOUBLE.pack(DOUBLE_HEAD, number) for number in numbers])
    return b"".join(map(_encode_int, numbers))


@lru_cache(maxsize=1 << 18)  # one entry a token id: the largest vocabularies have about 2**18
def _encode_int(number: int) -> bytes:
    encoded: bytes = ArrayValue(values=[AnyValue(int_value=number)]).SerializeToString()
    return encoded


@lru_cache(maxsize=4096, typed=True)
def _encode_attribute(name: str, value: str | float) -> bytes:
    (resource_spans,) = encode_spans([_with_attributes(BARE, {name: value})]).resource_spans
    (span,) = resource_spans.scope_spans[0].spans
    encoded: bytes = Span(attributes=span.attributes).SerializeToString()
    return encoded


def _with_attributes(span: ReadableSpan, attributes: Mapping[str, Any]) -> ReadableSpan:
    return ReadableSpan(
        name=span.name,
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=attributes,
        events=span.events,
        links=span.links,
        kind=span.kind,
        status=span.status,
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )
