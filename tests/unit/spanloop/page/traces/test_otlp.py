"""A trace that is taken away is what arrived."""

from typing import Any

from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from spanloop.page.traces.otlp import GROUP, resource_spans
from tests.spans import span


def row(name: str, **fields: Any) -> dict[str, Any]:
    return {**dict.fromkeys((*GROUP, "trace_state")), **span(name), **fields}


def parsed(*rows: dict[str, Any]) -> Any:
    return json_format.ParseDict({"resourceSpans": resource_spans(rows)}, ExportTraceServiceRequest())


def test_values_come_back_as_the_kinds_they_were() -> None:
    """Numbers that JSON has no words for, bytes, and objects that only look like them."""
    attributes = (
        '{"a": true, "b": 1, "c": 1.0, "d": "x", "e": [1, null], "f": {"$bytes": "aGk="}, "g": {"$double": "NaN"},'
        ' "h": {"$bytes": "aGk=", "more": 1}, "i": 99999999999999999999}'
    )

    (read,) = parsed(row("s", attributes=attributes)).resource_spans[0].scope_spans[0].spans

    kinds = {entry.key: entry.value.WhichOneof("value") for entry in read.attributes}
    assert kinds == {
        "a": "bool_value",
        "b": "int_value",
        "c": "double_value",
        "d": "string_value",
        "e": "array_value",
        "f": "bytes_value",
        "g": "double_value",
        "h": "kvlist_value",
        "i": "double_value",
    }
    assert {entry.key: entry.value.bytes_value for entry in read.attributes}["f"] == b"hi"


def test_spans_of_one_resource_and_scope_stand_together_and_others_apart() -> None:
    """Also where a scope differs in its schema alone."""
    rows = [
        row("a"),
        row("b"),
        row("c", scope_version="2"),
        row("d", scope_schema_url="https://x.org/1"),
        row("e", resource='{"service.name": "other"}'),
    ]

    found = parsed(*rows)

    groups = [[span.name for span in scope.spans] for group in found.resource_spans for scope in group.scope_spans]
    urls = [scope.schema_url for group in found.resource_spans for scope in group.scope_spans]
    assert groups == [["a", "b"], ["c"], ["d"], ["e"]]
    assert urls == ["", "", "https://x.org/1", ""]


def test_what_belongs_to_a_span_goes_with_it() -> None:
    """Events, links, status and what was dropped; kinds and codes as numbers, unknown ones as none."""
    events = '[{"name": "e", "time_ns": 7, "attributes": {"k": 1}, "dropped_attributes_count": 2}, "odd"]'
    links = '[{"trace_id": "0af7651916cd43dd8448eb211c80319c", "span_id": "b7ad6b7169203331", "flags": 1}]'
    full = row(
        "s", kind="client", status_code="error", status_message="no", events=events, links=links, trace_state="a=b"
    )

    read, bare = (
        parsed(full, row("t", kind="odd", parent="p", events=None, links="")).resource_spans[0].scope_spans[0].spans
    )

    assert (read.kind, read.status.code, read.status.message, read.trace_state) == (3, 2, "no", "a=b")
    assert [(event.name, event.time_unix_nano, event.dropped_attributes_count) for event in read.events] == [
        ("e", 7, 2)
    ]
    assert len(read.links) == 1
    assert (bare.kind, bare.status.code, len(bare.events), len(bare.links)) == (0, 0, 0, 0)
