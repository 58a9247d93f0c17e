"""Requests that upb refuses, mended field by field."""

import json

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from receiver.decode.arrow import decode
from receiver.decode.otlp import Signal, read_protobuf
from receiver.decode.wire_repair import MAX_DEPTH, TOO_DEEP
from tests.export_requests import START_NS, attribute, span, traces


def test_one_bad_byte_costs_its_field_and_not_the_batch() -> None:
    """Text that is not UTF-8 is replaced by U+FFFD where it stands."""
    body = traces(span(1, name="good"), span(2, name="bad-@")).SerializeToString().replace(b"bad-@", b"bad-\xff")

    request = read_protobuf(Signal.TRACES, body)

    names = [item.name for item in request.message.resource_spans[0].scope_spans[0].spans]
    assert names == ["good", "bad-\ufffd"]
    assert request.num_repaired == 1
    assert ExportTraceServiceRequest.FromString(request.body) == request.message


def nested(depth: int) -> AnyValue:
    value = AnyValue(string_value="core")
    for _ in range(depth):
        value = AnyValue(array_value={"values": [value]})
    return value


def delimited(tag: int, content: bytes) -> bytes:
    return bytes([tag]) + encode_varint(len(content)) + content


def encode_varint(value: int) -> bytes:
    return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + encode_varint(value >> 7)


def request_with_deep_value(depth: int) -> bytes:
    """Written by hand: protobuf itself refuses to build what it refuses to parse."""
    value = AnyValue(string_value="core").SerializeToString()
    for _ in range(depth):
        value = delimited(0x2A, delimited(0x0A, value))  # AnyValue.array_value.values
    pair = delimited(0x0A, b"deep") + delimited(0x12, value)
    deep = span(1, attributes=[attribute("flat", "kept")]).SerializeToString() + delimited(0x4A, pair)
    scope = delimited(0x12, deep) + delimited(0x12, span(2).SerializeToString())
    return delimited(0x0A, delimited(0x12, scope))


@pytest.mark.parametrize("depth", [10, 45, 48, 60, 95, 500])
def test_a_value_nested_too_deep_costs_that_value(depth: int) -> None:
    """The parser gives up at a hundred messages; what lies below the limit becomes a marker."""
    request = read_protobuf(Signal.TRACES, request_with_deep_value(depth))

    batch = decode(Signal.TRACES, request.message, project="default", received_ns=START_NS, seq=1)
    attributes = json.loads(batch["attributes"][0].as_py())
    assert attributes["flat"] == "kept"
    assert batch.num_rows == 2
    value = attributes["deep"]
    levels = 0
    while isinstance(value, list):
        (value,) = value
        levels += 1
    assert (value, levels) in {("core", depth), (TOO_DEEP, MAX_DEPTH)}
    assert (value == TOO_DEEP) == (request.num_repaired == 1)
