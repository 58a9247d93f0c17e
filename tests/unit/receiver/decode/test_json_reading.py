"""OTLP as JSON: its deviations from protobuf, and what one mistake costs."""

import base64
import json
import random
from collections.abc import Callable

import pytest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from receiver.decode.arrow import decode
from receiver.decode.otlp import Signal, Undecodable, answer, read_json, read_protobuf
from tests.export_requests import START_NS, span, traces
from tests.scale import times


def json_request(**fields: object) -> bytes:
    value = {
        "traceId": "0123456789ABCDEF0123456789abcdef",
        "spanId": "00000000000000AB",
        "name": "work",
        "kind": 3,
        "startTimeUnixNano": str(START_NS),
        "endTimeUnixNano": START_NS + 5,
        "unknownField": {"ignored": True},
        **fields,
    }
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [value]}]}]}).encode()


def test_json_reads_with_its_deviations_from_protobuf() -> None:
    """Hex ids in any case, integer enums, 64-bit integers as strings or numbers, unknown fields ignored."""
    attributes = [
        {"key": "as-text", "value": {"intValue": "9007199254740993"}},
        {"key": "as-number", "value": {"intValue": 7}},
        {"key": "double", "value": {"doubleValue": 1}},
        {"key": "bytes", "value": {"bytesValue": "AAE="}},
        {"key": "nothing", "value": {}},
    ]
    request = read_json(Signal.TRACES, json_request(attributes=attributes, parentSpanId="00000000000000CD"))

    row = decode(Signal.TRACES, request.message, project="default", received_ns=START_NS, seq=1).to_pylist()[0]
    assert (row["trace_id"], row["span_id"]) == ("0123456789abcdef0123456789abcdef", "00000000000000ab")
    assert (row["parent_span_id"], row["kind"]) == ("00000000000000cd", "client")
    assert (row["start_ns"], row["end_ns"]) == (START_NS, START_NS + 5)
    assert row["attributes"] == (
        '{"as-text":9007199254740993,"as-number":7,"double":1.0,"bytes":{"$bytes":"AAE="},"nothing":null}'
    )


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_json_with_ids_in_base64(encode: Callable[[bytes], bytes]) -> None:
    """As protobuf's own mapping writes them, with padding and without: the span's and those it is linked to."""
    trace_id, span_id, parent_id = bytes.fromhex("fb" * 16), bytes.fromhex("ff" * 8), bytes.fromhex("3e" * 8)
    for end in ("", "="):
        trace, own, parent = (encode(i).decode().rstrip(end or " ") for i in (trace_id, span_id, parent_id))
        link = {"traceId": trace, "spanId": parent}
        body = json_request(traceId=trace, spanId=own, parentSpanId=parent, links=[link])

        request = read_json(Signal.TRACES, body)

        (read,) = request.message.resource_spans[0].scope_spans[0].spans
        assert (read.trace_id, read.span_id, read.parent_span_id) == (trace_id, span_id, parent_id)
        assert (read.links[0].trace_id, read.links[0].span_id) == (trace_id, parent_id)
        assert (request.num_rejected, request.problem) == (0, "")


def test_json_with_an_id_of_no_use_rejects_that_span() -> None:
    """A bad id is the span's problem, not the request's."""
    request = read_json(Signal.TRACES, json_request(spanId="xyz"))

    assert (request.num_items, request.num_rejected) == (1, 1)
    assert json.loads(answer(request, as_json=True))["partialSuccess"]["rejectedSpans"] == "1"


def test_json_nested_too_deep_costs_the_value() -> None:
    """The same limit as for protobuf."""
    value: dict[str, object] = {"stringValue": "core"}
    for _ in range(80):
        value = {"arrayValue": {"values": [value]}}

    request = read_json(Signal.TRACES, json_request(attributes=[{"key": "deep", "value": value}]))

    assert (request.num_items, request.num_rejected, request.num_repaired) == (1, 0, 1)


def test_json_with_half_a_surrogate_pair_keeps_its_place() -> None:
    """As JavaScript writes a string cut inside an emoji; the rest of the batch is stored."""
    body = json_request(attributes=[{"key": "cut", "value": {"stringValue": "half \ud83d"}}])
    request = read_json(Signal.TRACES, body)

    row = decode(Signal.TRACES, request.message, project="default", received_ns=START_NS, seq=1).to_pylist()[0]
    assert (request.num_items, request.num_rejected, request.num_repaired) == (1, 0, 1)
    assert row["attributes"] == '{"cut":"half \ufffd"}'


WRONG = (7, -1, 1.5, "text", True, [], {}, [7], {"a": 1}, "1" * 400, 1e300, ["x"], {"stringValue": {"deep": []}})


@pytest.mark.parametrize("value", WRONG)
def test_json_wrong_in_one_field_costs_that_field(value: object) -> None:
    """Whatever stands where another type belongs, the span with the others of its batch is stored."""
    fields = (
        "parentSpanId", "traceState", "flags", "name", "kind", "attributes", "events", "links", "status",
        "droppedAttributesCount", "droppedEventsCount", "droppedLinksCount", "startTimeUnixNano", "endTimeUnixNano",
    )  # fmt: skip
    for field in fields:
        request = read_json(Signal.TRACES, json_request(**{field: value}))
        assert request.num_items == 1, field
        assert request.num_rejected == 0 or field.endswith("UnixNano"), field
    nested = [{"key": "a", "value": value}, {"key": value, "value": {"intValue": value}}, value]
    request = read_json(Signal.TRACES, json_request(attributes=nested, events=[{"name": value}], links=[value]))
    assert (request.num_items, request.num_rejected) == (1, 0)


def test_json_says_how_many_fields_were_mended() -> None:
    """A bare value is taken for what it plainly is; a parent that is no id is left out."""
    attributes = [{"key": "bare", "value": "text"}, {"key": "two", "value": {"intValue": 1, "boolValue": True}}]
    request = read_json(Signal.TRACES, json_request(attributes=attributes, parentSpanId="xyz", kind="SPAN_KIND_SERVER"))

    row = decode(Signal.TRACES, request.message, project="default", received_ns=START_NS, seq=1).to_pylist()[0]
    assert request.num_repaired == 3
    assert "3 fields" in request.problem
    assert (row["attributes"], row["parent_span_id"], row["kind"]) == ('{"bare":"text","two":1}', None, "server")


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'{"resourceSpans": 7}', b'{"resourceSpans": [{"scopeSpans": "x"}]}']
)
def test_json_that_is_no_request_is_refused(body: bytes) -> None:
    """Refused for good, with a reason that quotes no value."""
    with pytest.raises(Undecodable):
        read_json(Signal.TRACES, body)


def test_doubles_that_json_cannot_spell_are_marked() -> None:
    """NaN and the infinities become {"$double": …}, so that they cannot be taken for null."""
    values = [float("nan"), float("inf"), -float("inf"), 1e300]
    attributes = [KeyValue(key=str(n), value=AnyValue(double_value=value)) for n, value in enumerate(values)]
    request = read_protobuf(Signal.TRACES, traces(span(1, attributes=attributes)).SerializeToString())

    batch = decode(Signal.TRACES, request.message, project="default", received_ns=START_NS, seq=1)

    assert batch["attributes"][0].as_py() == (
        '{"0":{"$double":"NaN"},"1":{"$double":"Infinity"},"2":{"$double":"-Infinity"},"3":1e+300}'
    )


def mutate(value: object, chance: random.Random) -> object:
    """Return parsed JSON with something small wrong somewhere in it."""
    if isinstance(value, dict) and value and chance.random() < 0.8:
        key = chance.choice([*value])
        return {**value, key: mutate(value[key], chance)}
    if isinstance(value, list) and value and chance.random() < 0.8:
        index = chance.randrange(len(value))
        return [*value[:index], mutate(value[index], chance), *value[index + 1 :]]
    return chance.choice([*WRONG, None, "\ud800", 2**64, -(2**63), {"values": 7}, [[]]])


def test_small_mistakes_anywhere_in_json_cost_little() -> None:
    """Whatever is wrong in one place, the parser raises nothing of its own, and most requests are still stored."""
    chance = random.Random(12)
    values = [{"stringValue": "x"}, {"intValue": "7"}, {"arrayValue": {"values": [{"doubleValue": 1.5}, {}]}}]
    attributes = [{"key": f"k{number}", "value": value} for number, value in enumerate(values)]
    event = {"name": "e", "timeUnixNano": "5", "attributes": attributes}
    link = {"traceId": "0123456789abcdef0123456789abcdef", "spanId": "00000000000000ab", "attributes": attributes}
    document = json.loads(json_request(attributes=attributes, events=[event], links=[link], status={"code": 2}))
    (fields,) = document["resourceSpans"][0]["scopeSpans"][0]["spans"]
    total = times(short=500, long=100_000)
    stored = 0
    for _ in range(total):
        key = chance.choice([*fields])
        in_a_field = json_request(**{**fields, key: mutate(fields[key], chance)})
        for body in (json.dumps(mutate(document, chance)).encode(), in_a_field):
            try:
                request = read_json(Signal.TRACES, body)
            except Undecodable:
                assert body is not in_a_field
                continue
            decode(Signal.TRACES, request.message, project="default", received_ns=START_NS, seq=1)
            stored += body is in_a_field and request.num_items > request.num_rejected
    assert stored > total * 0.6
