"""The compiled decoder against protobuf and the decoder in Python: the same rows, or no answer at all."""

import random
import struct
from pathlib import Path
from typing import Any

import orjson
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList

from receiver.decode import native, otlp
from receiver.decode.arrow import complete, decode
from receiver.decode.otlp import Signal
from tests.export_requests import attribute, span, traces
from tests.scale import times

RECORDINGS = sorted(
    path
    for path in (Path(__file__).parents[3] / "fixtures" / "otlp").glob("*/*.pb")
    if not path.name.endswith(".logs.pb")
)
HOW: dict[str, Any] = {"project": "p", "received_ns": 1_760_000_000_000_000_000, "seq": 7}


def check_agreement(body: bytes) -> bool:
    """Tell whether the compiled decoder took the request; if it did, its rows must be those of the other one."""
    spans = native.decode_spans(body)
    if spans is None:
        return False
    message = ExportTraceServiceRequest.FromString(body)
    rows = complete(Signal.TRACES, spans.columns, spans.num_rows, **HOW)
    rows.validate(full=True)
    assert rows.equals(decode(Signal.TRACES, message, **HOW))
    assert spans.num_items == sum(len(s.spans) for r in message.resource_spans for s in r.scope_spans)
    assert spans.num_rejected == spans.num_items - spans.num_rows
    return True


def test_it_is_built_where_there_is_a_compiler() -> None:
    """The tests below would say nothing of a decoder that is not there."""
    assert native.is_available()


def test_recordings_are_decoded_alike() -> None:
    """Traffic of real libraries takes the fast path, all of it."""
    refused = [path.name for path in RECORDINGS if not check_agreement(path.read_bytes())]

    assert len(RECORDINGS) >= 12
    assert refused == []


texts = st.text(max_size=12)
scalars = st.one_of(
    texts.map(lambda value: AnyValue(string_value=value)),
    st.integers(-(2**63), 2**63 - 1).map(lambda value: AnyValue(int_value=value)),
    st.floats().map(lambda value: AnyValue(double_value=value)),
    st.booleans().map(lambda value: AnyValue(bool_value=value)),
    st.binary(max_size=8).map(lambda value: AnyValue(bytes_value=value)),
    st.just(AnyValue()),
)


def pairs_of(values: st.SearchStrategy[AnyValue]) -> st.SearchStrategy[list[KeyValue]]:
    return st.dictionaries(texts, values, max_size=4).map(
        lambda items: [KeyValue(key=key, value=value) for key, value in items.items()]
    )


values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: AnyValue(array_value=ArrayValue(values=items))),
        pairs_of(inner).map(lambda items: AnyValue(kvlist_value=KeyValueList(values=items))),
    ),
    max_leaves=8,
)


@given(
    attributes=pairs_of(values),
    name=texts,
    trace_state=texts,
    ids=st.tuples(st.binary(max_size=17), st.binary(max_size=9), st.binary(max_size=9)),
    numbers=st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1), st.integers(0, 9)),
)
@settings(max_examples=150, deadline=None)
def test_whatever_a_span_holds_both_decoders_agree(
    attributes: list[KeyValue],
    name: str,
    trace_state: str,
    ids: tuple[bytes, bytes, bytes],
    numbers: tuple[int, int, int],
) -> None:
    """Every kind of value, nested; odd ids, counts and times; events, links, resource and scope with the same."""
    small, large, code = numbers
    odd = span(
        1, name=name, trace_state=trace_state, trace_id=ids[0], span_id=ids[1], parent_span_id=ids[2], kind=code,
        end_time_unix_nano=large, flags=small, dropped_events_count=small, attributes=attributes,
    )  # fmt: skip
    odd.status.code, odd.status.message = code, name
    rich = span(2, attributes=attributes, parent_span_id=b"12345678")
    rich.events.add(name=name, time_unix_nano=large, attributes=attributes, dropped_attributes_count=small)
    rich.links.add(trace_id=ids[0], span_id=ids[1], trace_state=trace_state, flags=small, attributes=attributes)
    request = traces(odd, rich)
    resource_spans = request.resource_spans[0]
    resource_spans.schema_url = name
    resource_spans.resource.dropped_attributes_count = small
    scope_spans = resource_spans.scope_spans[0]
    scope_spans.schema_url, scope_spans.scope.version = trace_state, name
    scope_spans.scope.attributes.extend(attributes)
    scope_spans.scope.dropped_attributes_count = small

    check_agreement(request.SerializeToString())


def test_a_special_character_is_spelled_alike_wherever_it_stands() -> None:
    """Text is read eight bytes at a time; whatever wants care may stand anywhere in them, or next to another."""
    specials = ['"', "\\", "\n", "\x00", "\x1f", "\x7f", "é", "€", "😀", '"é', "\\\\", "\x01" * 9]
    texts = ["." * before + special + "." * after for special in specials for before in range(18) for after in range(9)]
    request = traces(*(span(n + 1, attributes=[attribute(text, text)]) for n, text in enumerate(texts)))

    assert check_agreement(request.SerializeToString())


def test_doubles_are_spelled_as_json_writers_do() -> None:
    """Shortest digits that read back as the same number; a span must look alike whichever decoder took it."""
    chance = random.Random(3)
    numbers = [0.1, -0.0, 1e15, 1e16, 1e17, 1e-5, 1e-6, 1.5e-7, 1e22, 5e-324, 1.7976931348623157e308, 2.0**-44, 1 / 3]
    numbers += [struct.unpack("<d", chance.randbytes(8))[0] for _ in range(3000)]
    numbers += [round(chance.uniform(-1000, 1000), chance.randrange(9)) for _ in range(1000)]
    numbers = [number for number in numbers if number - number == 0]  # finite
    request = traces(
        *(span(n + 1, attributes=[KeyValue(key="x", value=AnyValue(double_value=x))]) for n, x in enumerate(numbers))
    )

    taken = 0
    for one in request.resource_spans[0].scope_spans[0].spans:
        spans = native.decode_spans(traces(one).SerializeToString())
        if spans is not None:
            taken += 1
            value = one.attributes[0].value.double_value
            assert spans.columns["attributes"].to_pylist() == [orjson.dumps({"x": value}).decode()]
    assert taken > 0.95 * len(numbers)


@pytest.mark.timeout(times(short=300, long=7200))
def test_no_mutation_is_read_that_protobuf_refuses() -> None:
    """Whatever the bytes: rows that protobuf agrees with, or no answer; never a crash, never a read beyond the end."""
    chance = random.Random(11)
    whole = [path.read_bytes() for path in RECORDINGS[:: max(1, len(RECORDINGS) // 12)]]
    whole.append(traces(span(1, attributes=[attribute("key", "value")]), span(2)).SerializeToString())
    num_taken = 0
    for _ in range(times(short=4_000, long=500_000)):
        body = bytearray(chance.choice(whole)[:2000])
        for _ in range(chance.randrange(1, 4)):
            body[chance.randrange(len(body))] = chance.randrange(256)
        if native.decode_spans(bytes(body)) is None:
            continue
        try:
            assert check_agreement(bytes(body))
        except DecodeError as error:
            raise AssertionError(bytes(body).hex()) from error
        num_taken += 1
    assert num_taken > 20


@pytest.mark.parametrize(
    "odd",
    [
        traces(span(1, attributes=[attribute("twice", "a"), attribute("twice", "b")])).SerializeToString(),
        traces(span(1)).SerializeToString() + b"\x78\x01",
        traces(span(1, attributes=[attribute(str(n), "x") for n in range(2000)])).SerializeToString(),
    ],
    ids=["a key twice", "an unknown field", "very many keys"],
)
def test_the_unusual_goes_the_other_way_and_arrives(odd: bytes) -> None:
    """What the compiled decoder leaves alone is stored all the same."""
    assert native.decode_spans(odd) is None
    request = otlp.read_protobuf(Signal.TRACES, odd)
    assert (request.num_items, request.num_rejected, request.spans) == (1, 0, None)


@pytest.mark.parametrize("abi", [native.ABI + 1, native.ABI + (1 << 32), 0])
def test_a_library_of_other_sources_is_not_called(abi: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One left from an earlier build crashed the process: its structures are not those that are read here."""
    monkeypatch.setattr(native, "ABI", abi)
    native._library.cache_clear()
    try:
        assert not native.is_available()
        assert native.decode_spans(traces(span(1)).SerializeToString()) is None
    finally:
        native._library.cache_clear()


def test_what_rows_share_is_left_to_python_where_it_is_long() -> None:
    """There it is kept once; here it would be copied into every row."""
    message = traces(span(1))
    assert native.decode_spans(message.SerializeToString()) is not None
    message.resource_spans[0].resource.attributes.append(attribute("large", "x" * 5000))
    assert native.decode_spans(message.SerializeToString()) is None
