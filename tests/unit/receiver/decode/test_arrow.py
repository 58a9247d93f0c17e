"""Recorded requests to rows: nothing of a span or log record is lost, checked against protobuf's own JSON."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

from receiver.decode.arrow import SCHEMAS, TABLE_OF, decode
from receiver.decode.otlp import Signal, read_protobuf
from tests.export_requests import START_NS, span, traces

FIXTURES = Path(__file__).parents[3] / "fixtures" / "otlp"
RECORDINGS = sorted(FIXTURES.glob("*/*.pb"))


def plain(value: dict[str, Any]) -> Any:
    """Return an AnyValue in protobuf's JSON as the plain value it stands for."""
    if not value:
        return None
    ((kind, content),) = value.items()
    match kind:
        case "intValue":
            return int(content)
        case "doubleValue":
            return {"$double": content} if isinstance(content, str) else float(content)
        case "bytesValue":
            return {"$bytes": content}
        case "arrayValue":
            return [plain(item) for item in content.get("values", [])]
        case "kvlistValue":
            return pairs(content.get("values", []))
        case _:
            return content


def pairs(items: list[dict[str, Any]]) -> dict[str, Any]:
    return {item.get("key", ""): plain(item.get("value", {})) for item in items}


def hex_id(text: str | None) -> str | None:
    return base64.b64decode(text).hex() if text else None


def items(message: Any, outer: str, scopes: str, inner: str) -> Iterator[tuple[dict[str, Any], dict[str, Any], Any]]:
    for resource in MessageToDict(message).get(outer, []):
        for scope in resource.get(scopes, []):
            for item in scope.get(inner, []):
                yield resource.get("resource", {}), scope.get("scope", {}), item


def expected_span(resource: dict[str, Any], scope: dict[str, Any], item: dict[str, Any]) -> dict[str, Any]:
    service = pairs(resource.get("attributes", [])).get("service.name")
    return {
        "trace_id": hex_id(item["traceId"]),
        "span_id": hex_id(item["spanId"]),
        "parent_span_id": hex_id(item.get("parentSpanId")),
        "trace_state": item.get("traceState"),
        "flags": item.get("flags", 0),
        "name": item.get("name", ""),
        "kind": item.get("kind", "SPAN_KIND_UNSPECIFIED").removeprefix("SPAN_KIND_").lower(),
        "start_ns": int(item["startTimeUnixNano"]),
        "end_ns": int(item["endTimeUnixNano"]),
        "status_code": item.get("status", {}).get("code", "STATUS_CODE_UNSET").removeprefix("STATUS_CODE_").lower(),
        "status_message": item.get("status", {}).get("message"),
        "service_name": service,
        "resource": pairs(resource.get("attributes", [])),
        "scope_name": scope.get("name"),
        "scope_version": scope.get("version"),
        "scope_attributes": pairs(scope["attributes"]) if "attributes" in scope else None,
        "attributes": pairs(item.get("attributes", [])),
        "events": [
            {
                "name": event.get("name", ""),
                "time_ns": int(event.get("timeUnixNano", 0)),
                "attributes": pairs(event.get("attributes", [])),
                "dropped_attributes_count": event.get("droppedAttributesCount", 0),
            }
            for event in item.get("events", [])
        ],
        "links": [
            {
                "trace_id": hex_id(link.get("traceId")),
                "span_id": hex_id(link.get("spanId")),
                "trace_state": link.get("traceState"),
                "flags": link.get("flags", 0),
                "attributes": pairs(link.get("attributes", [])),
                "dropped_attributes_count": link.get("droppedAttributesCount", 0),
            }
            for link in item.get("links", [])
        ],
        "dropped_attributes_count": item.get("droppedAttributesCount", 0),
        "dropped_events_count": item.get("droppedEventsCount", 0),
        "dropped_links_count": item.get("droppedLinksCount", 0),
    }


def expected_log_record(resource: dict[str, Any], scope: dict[str, Any], item: dict[str, Any]) -> dict[str, Any]:
    attributes = pairs(item.get("attributes", []))
    observed = int(item.get("observedTimeUnixNano", 0))
    return {
        "trace_id": hex_id(item.get("traceId")),
        "span_id": hex_id(item.get("spanId")),
        "flags": item.get("flags", 0),
        "time_ns": int(item.get("timeUnixNano", 0)) or observed,
        "observed_ns": observed,
        "severity_text": item.get("severityText"),
        "event_name": item.get("eventName") or attributes.get("event.name"),
        "body": plain(item.get("body", {})),
        "attributes": attributes,
        "service_name": pairs(resource.get("attributes", [])).get("service.name"),
        "resource": pairs(resource.get("attributes", [])),
        "scope_name": scope.get("name"),
        "scope_version": scope.get("version"),
        "dropped_attributes_count": item.get("droppedAttributesCount", 0),
    }


JSON_COLUMNS = {"resource", "scope_attributes", "attributes", "events", "links", "body"}


def shown(row: dict[str, Any], columns: set[str]) -> dict[str, Any]:
    return {
        name: json.loads(value) if name in JSON_COLUMNS and value is not None else value
        for name, value in row.items()
        if name in columns
    }


def test_there_are_recordings() -> None:
    """The parametrized tests below must not pass for want of files."""
    assert len(RECORDINGS) >= 12


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_recordings_decode_without_loss(path: Path) -> None:
    """Every field of every span and log record equals what protobuf's JSON says, in the order of the request."""
    signal = Signal.LOGS if path.name.endswith(".logs.pb") else Signal.TRACES
    request = read_protobuf(signal, path.read_bytes())

    rows = decode(signal, request.message, project="default", received_ns=START_NS, seq=9).to_pylist()

    if signal is Signal.TRACES:
        triples = items(request.message, "resourceSpans", "scopeSpans", "spans")
        expected = [expected_span(*triple) for triple in triples]
    else:
        triples = items(request.message, "resourceLogs", "scopeLogs", "logRecords")
        expected = [expected_log_record(*triple) for triple in triples]
    assert [shown(row, set(expected[0])) for row in rows] == expected
    assert all(row["received_seq"] == 9 for row in rows)


def test_batches_have_exactly_the_published_columns() -> None:
    """Names and types come from the contract, whatever the request holds."""
    for signal, table in TABLE_OF.items():
        request = read_protobuf(signal, b"")
        batch = decode(signal, request.message, project="default", received_ns=0, seq=1)
        assert batch.schema == SCHEMAS[table]
        assert batch.num_rows == 0


def test_unknown_enum_values_read_as_unset() -> None:
    """A later protocol version may send kinds and codes we do not know."""
    odd = span(1, kind=99)
    odd.status.code = 42

    row = decode(Signal.TRACES, traces(odd), project="p", received_ns=0, seq=1).to_pylist()[0]

    assert (row["kind"], row["status_code"]) == ("unspecified", "unset")
