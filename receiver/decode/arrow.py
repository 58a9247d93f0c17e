"""Export requests to Arrow: one request in, one batch in the columns of `receiver.schema` out."""

import base64
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from receiver.decode.otlp import MAX_NS, Signal, is_usable
from receiver.decode.shared import MAX_NAME_LENGTH, SharedTexts
from receiver.tables import TABLES, Column

ARROW_TYPES = {
    "VARCHAR": pa.string(),
    "BIGINT": pa.int64(),
    "INTEGER": pa.int32(),
    "UINTEGER": pa.uint32(),
    "TIMESTAMPTZ": pa.timestamp("us", tz="UTC"),
}

KINDS = ("unspecified", "internal", "server", "client", "producer", "consumer")
STATUS_CODES = ("unset", "ok", "error")

TABLE_OF = {Signal.TRACES: "spans", Signal.LOGS: "log_records"}


def arrow_schema(columns: tuple[Column, ...]) -> pa.Schema:
    """Return the Arrow schema of a published table."""
    return pa.schema([(column.name, ARROW_TYPES[column.type]) for column in columns])


SCHEMAS = {table: arrow_schema(columns) for table, columns in TABLES.items()}


def decode(
    signal: Signal,
    message: Any,  # noqa: ANN401 - generated class
    *,
    project: str,
    received_ns: int,
    seq: int,
    shared: SharedTexts | None = None,
) -> pa.RecordBatch:
    """Turn a parsed request into a batch. Spans that are not usable are left out: they were counted on arrival.

    Long texts that rows share are put into `shared`.
    """
    shared = shared or SharedTexts()
    if signal is Signal.TRACES:
        columns = _decode_spans(message, shared)
        num_rows = len(columns["span_id"])
    else:
        columns = _decode_log_records(message, shared)
        num_rows = len(columns["span_id"])
        columns["record_index"] = list(range(num_rows))
    schema = SCHEMAS[TABLE_OF[signal]]
    decoded = {name: pa.array(values, schema.field(name).type) for name, values in columns.items() if name not in ADDED}
    return complete(signal, decoded, num_rows, project=project, received_ns=received_ns, seq=seq)


ADDED = frozenset({"project", "received_time", "received_seq"})
"""Columns that say how a request was received, which its bytes do not."""


def complete(
    signal: Signal, columns: Mapping[str, pa.Array], num_rows: int, *, project: str, received_ns: int, seq: int
) -> pa.RecordBatch:
    """Add what the receiver knows to the decoded columns of a request."""
    schema = SCHEMAS[TABLE_OF[signal]]
    added = {
        "project": _repeat_text(project, num_rows),
        "received_time": _repeat_number(received_ns // 1000, schema.field("received_time").type, num_rows),
        "received_seq": _repeat_number(seq, pa.int64(), num_rows),
    }
    return pa.RecordBatch.from_arrays([added.get(name, columns.get(name)) for name in schema.names], schema=schema)


# Built from buffers, because Arrow imports pandas, where it is installed, to convert the first Python object: half a
# second and 40 MB for nothing.


def _repeat_number(value: int, kind: pa.DataType, num_rows: int) -> pa.Array:
    return pa.Array.from_buffers(kind, num_rows, [None, pa.py_buffer(np.full(num_rows, value, np.int64))], null_count=0)


def _repeat_text(value: str, num_rows: int) -> pa.Array:
    text = value.encode()
    offsets = np.arange(num_rows + 1, dtype=np.int32) * np.int32(len(text))
    parts = [None, pa.py_buffer(offsets), pa.py_buffer(text * num_rows)]
    return pa.Array.from_buffers(pa.string(), num_rows, parts, null_count=0)


def _decode_spans(message: Any, shared: SharedTexts) -> dict[str, list[Any]]:  # noqa: ANN401
    columns: dict[str, list[Any]] = {column.name: [] for column in TABLES["spans"]}
    (
        trace_id,
        span_id,
        parent_span_id,
        trace_state,
        flags,
        name,
        kind,
        start_ns,
        end_ns,
        status_code,
        status_message,
        attributes,
        events,
        links,
        dropped_attributes,
        dropped_events,
        dropped_links,
    ) = (
        columns[column].append
        for column in (
            "trace_id",
            "span_id",
            "parent_span_id",
            "trace_state",
            "flags",
            "name",
            "kind",
            "start_ns",
            "end_ns",
            "status_code",
            "status_message",
            "attributes",
            "events",
            "links",
            "dropped_attributes_count",
            "dropped_events_count",
            "dropped_links_count",
        )
    )  # fmt: skip - one name a column, in the order of the table
    for resource_spans in message.resource_spans:
        resource = attributes_of(resource_spans.resource.attributes)
        resource_json, service_name = shared.refer(to_json(resource)), _name(resource.get("service.name"))
        for scope_spans in resource_spans.scope_spans:
            before = len(columns["span_id"])
            for span in scope_spans.spans:
                if not is_usable(span):
                    continue
                trace_id(span.trace_id.hex())
                span_id(span.span_id.hex())
                parent_span_id(_id(span.parent_span_id))
                trace_state(span.trace_state or None)
                flags(span.flags)
                name(span.name)
                kind(KINDS[span.kind] if 0 <= span.kind < len(KINDS) else "unspecified")
                start_ns(span.start_time_unix_nano)
                end_ns(span.end_time_unix_nano)
                status = span.status
                status_code(STATUS_CODES[status.code] if 0 <= status.code < len(STATUS_CODES) else "unset")
                status_message(status.message or None)
                attributes(to_json(attributes_of(span.attributes)))
                events(to_json([_event(event) for event in span.events]) if span.events else "[]")
                links(to_json([_link(link) for link in span.links]) if span.links else "[]")
                dropped_attributes(span.dropped_attributes_count)
                dropped_events(span.dropped_events_count)
                dropped_links(span.dropped_links_count)
            num_rows = len(columns["span_id"]) - before
            scope = scope_spans.scope
            columns["resource"] += [resource_json] * num_rows
            columns["service_name"] += [service_name] * num_rows
            columns["scope_name"] += [scope.name or None] * num_rows
            columns["scope_version"] += [scope.version or None] * num_rows
            scope_attributes = shared.refer(to_json(attributes_of(scope.attributes))) if scope.attributes else None
            columns["scope_attributes"] += [scope_attributes] * num_rows
            _add_origin(columns, resource_spans, scope_spans, num_rows)
    columns["start_time"] = [ns // 1000 for ns in columns["start_ns"]]
    columns["end_time"] = [ns // 1000 for ns in columns["end_ns"]]
    return columns


def _decode_log_records(message: Any, shared: SharedTexts) -> dict[str, list[Any]]:  # noqa: ANN401
    columns: dict[str, list[Any]] = {column.name: [] for column in TABLES["log_records"]}
    for resource_logs in message.resource_logs:
        resource = attributes_of(resource_logs.resource.attributes)
        resource_json, service_name = shared.refer(to_json(resource)), _name(resource.get("service.name"))
        for scope_logs in resource_logs.scope_logs:
            scope = scope_logs.scope
            scope_attributes = shared.refer(to_json(attributes_of(scope.attributes))) if scope.attributes else None
            _add_origin(columns, resource_logs, scope_logs, len(scope_logs.log_records))
            for record in scope_logs.log_records:
                attributes = attributes_of(record.attributes)
                observed_ns = min(record.observed_time_unix_nano, MAX_NS)
                time_ns = min(record.time_unix_nano, MAX_NS) or observed_ns
                columns["trace_id"].append(_id(record.trace_id))
                columns["span_id"].append(_id(record.span_id))
                columns["flags"].append(record.flags)
                columns["time"].append(time_ns // 1000)
                columns["time_ns"].append(time_ns)
                columns["observed_ns"].append(observed_ns)
                columns["severity_number"].append(record.severity_number)
                columns["severity_text"].append(record.severity_text or None)
                columns["event_name"].append(record.event_name or _text(attributes.get("event.name")))
                columns["body"].append(to_json(value_of(record.body)))
                columns["attributes"].append(to_json(attributes))
                columns["service_name"].append(service_name)
                columns["resource"].append(resource_json)
                columns["scope_name"].append(scope.name or None)
                columns["scope_version"].append(scope.version or None)
                columns["scope_attributes"].append(scope_attributes)
                columns["dropped_attributes_count"].append(record.dropped_attributes_count)
    return columns


def _add_origin(columns: dict[str, list[Any]], of_resource: Any, of_scope: Any, num_rows: int) -> None:  # noqa: ANN401
    columns["resource_schema_url"] += [of_resource.schema_url or None] * num_rows
    columns["resource_dropped_attributes_count"] += [of_resource.resource.dropped_attributes_count] * num_rows
    columns["scope_schema_url"] += [of_scope.schema_url or None] * num_rows
    columns["scope_dropped_attributes_count"] += [of_scope.scope.dropped_attributes_count] * num_rows


def _id(raw: bytes) -> str | None:
    return raw.hex() if any(raw) else None


def _name(value: object) -> str | None:
    return value[:MAX_NAME_LENGTH] if isinstance(value, str) else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _event(event: Any) -> dict[str, Any]:  # noqa: ANN401
    return {
        "name": event.name,
        "time_ns": event.time_unix_nano,
        "attributes": attributes_of(event.attributes),
        "dropped_attributes_count": event.dropped_attributes_count,
    }


def _link(link: Any) -> dict[str, Any]:  # noqa: ANN401
    return {
        "trace_id": link.trace_id.hex(),
        "span_id": link.span_id.hex(),
        "trace_state": link.trace_state or None,
        "flags": link.flags,
        "attributes": attributes_of(link.attributes),
        "dropped_attributes_count": link.dropped_attributes_count,
    }


def attributes_of(pairs: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return a list of OTLP attributes as a dictionary; of a key that comes twice, the last value."""
    return {pair.key: value_of(pair.value) for pair in pairs}


def value_of(value: Any) -> Any:  # noqa: ANN401
    """Return an OTLP AnyValue as a JSON value, in the notation `receiver.schema` describes."""
    match value.WhichOneof("value"):
        case "string_value":
            return value.string_value
        case "int_value":
            return value.int_value
        case "double_value":
            number = value.double_value
            return number if math.isfinite(number) else {"$double": _spell(number)}
        case "bool_value":
            return value.bool_value
        case "array_value":
            return [value_of(item) for item in value.array_value.values]
        case "kvlist_value":
            return attributes_of(value.kvlist_value.values)
        case "bytes_value":
            return {"$bytes": base64.b64encode(value.bytes_value).decode()}
        case _:
            return None


def _spell(number: float) -> str:
    if math.isnan(number):
        return "NaN"
    return "Infinity" if number > 0 else "-Infinity"


def to_json(value: Any) -> str:  # noqa: ANN401
    """Write a JSON value as text."""
    return orjson.dumps(value).decode()
