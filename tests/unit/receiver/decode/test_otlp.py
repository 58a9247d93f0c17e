"""Requests on the wire: what is read, what is mended, what is refused, and what the answer says."""

import random

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue

from receiver.decode.arrow import decode
from receiver.decode.otlp import Signal, Undecodable, answer, read_protobuf
from tests.export_requests import START_NS, logs, span, traces
from tests.scale import times
from tests.unit.receiver.decode.test_wire_repair import nested


def test_a_clean_request_is_kept_byte_for_byte() -> None:
    """What is logged is what came."""
    body = traces(span(1), span(2)).SerializeToString()

    request = read_protobuf(Signal.TRACES, body)

    assert request.body is body
    assert (request.num_items, request.num_rejected, request.num_repaired) == (2, 0, 0)
    assert answer(request, as_json=False) == b""


def test_spans_that_can_never_be_stored_are_counted_and_the_rest_is_kept() -> None:
    """Ids of the wrong length or all zero, and instants beyond 2262, are rejected in the answer."""
    bad = [
        span(1, trace_id=b"short"),
        span(2, span_id=bytes(8)),
        span(3, trace_id=bytes(16)),
        span(4, end_time_unix_nano=2**63),
    ]
    request = read_protobuf(Signal.TRACES, traces(*bad, span(5)).SerializeToString())

    batch = decode(Signal.TRACES, request.message, project="default", received_ns=START_NS, seq=1)
    said = ExportTraceServiceResponse.FromString(answer(request, as_json=False)).partial_success
    assert batch["span_id"].to_pylist() == ["0000000000000005"]
    assert said.rejected_spans == 4
    assert "4 of 5 spans rejected" in said.error_message


def test_logs_sent_to_the_traces_endpoint_are_recognized() -> None:
    """Field numbers coincide, so such a request parses; the answer says what it looks like."""
    request = read_protobuf(Signal.TRACES, logs("hello").SerializeToString())

    assert request.num_rejected == request.num_items == 1
    assert "looks like logs" in request.problem


def test_bytes_that_are_no_request_are_refused() -> None:
    """Truncation and noise are final: the client must not send them again."""
    whole = traces(span(1)).SerializeToString()
    for body in (whole[:-3], b"\xff" * 10, b"\x0b\x0b\x0b", b"GET / HTTP/1.1"):
        with pytest.raises(Undecodable):
            read_protobuf(Signal.TRACES, body)


@pytest.mark.timeout(times(short=300, long=7200))
@pytest.mark.parametrize("signal", list(Signal))
def test_no_mutation_crashes_the_reader(signal: Signal) -> None:
    """Whatever the bytes, the reader says Undecodable or gives a request that decodes."""
    chance = random.Random(7)
    seeds = {Signal.TRACES: traces(span(1, attributes=[KeyValue(key="v", value=nested(4))]), span(2))}
    whole = seeds.get(signal, logs("hello", "world")).SerializeToString()
    for number in range(times(short=3_000, long=500_000)):
        body = bytearray(whole)
        for _ in range(chance.randrange(1, 4)):
            body[chance.randrange(len(body))] = chance.randrange(256)
        if chance.random() < 0.2:
            del body[chance.randrange(len(body)) :]
        try:
            request = read_protobuf(signal, bytes(body))
        except Undecodable:
            continue
        batch = decode(signal, request.message, project="default", received_ns=START_NS, seq=number)
        assert batch.num_rows == request.num_items - request.num_rejected
        batch.validate(full=True)
