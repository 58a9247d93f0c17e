"""The columns of `spans` and `log_records`, and what a reader of them offers. Published by `receiver.schema`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from foundation.errors import SpanloopError
from foundation.files import write_json
from foundation.state import is_whole, with_digest

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMA_VERSION = 4

SHARED_TEXTS = "shared_texts"
"""A table of each day file, not published: long texts that rows of the others refer to (`receiver.decode.shared`)."""


@dataclass(frozen=True)
class Column:
    """One column of a published table."""

    name: str
    type: str
    """DuckDB's type name."""
    description: str
    compression: str | None = None
    """DuckDB compression forced for this column; None leaves the choice to DuckDB."""


SPANS: tuple[Column, ...] = (
    Column("project", "VARCHAR", "tenant; `default` where no key says otherwise"),
    Column("trace_id", "VARCHAR", "32 hex digits"),
    Column("span_id", "VARCHAR", "16 hex digits"),
    Column("parent_span_id", "VARCHAR", "16 hex digits; null for a root"),
    Column("trace_state", "VARCHAR", "W3C tracestate; null when empty"),
    Column("flags", "UINTEGER", "W3C trace flags, as in OTLP"),
    Column("name", "VARCHAR", "span name"),
    Column("kind", "VARCHAR", "unspecified, internal, server, client, producer or consumer"),
    Column("start_time", "TIMESTAMPTZ", "when it started"),
    Column("end_time", "TIMESTAMPTZ", "when it ended"),
    Column("start_ns", "BIGINT", "start, nanoseconds since 1970"),
    Column("end_ns", "BIGINT", "end, nanoseconds since 1970"),
    Column("status_code", "VARCHAR", "unset, ok or error"),
    Column("status_message", "VARCHAR", "null when empty"),
    Column("service_name", "VARCHAR", "resource attribute service.name"),
    Column("resource", "VARCHAR", "resource attributes, JSON object", "zstd"),
    Column("scope_name", "VARCHAR", "instrumentation scope"),
    Column("scope_version", "VARCHAR", "version of the scope; null when empty"),
    Column("scope_attributes", "VARCHAR", "JSON object; null when there are none"),
    Column("attributes", "VARCHAR", "span attributes, JSON object", "zstd"),
    Column(
        "events",
        "VARCHAR",
        "JSON array of {name, time_ns, attributes, dropped_attributes_count}",
        "zstd",
    ),
    Column(
        "links",
        "VARCHAR",
        "JSON array of {trace_id, span_id, trace_state, flags, attributes, dropped_attributes_count}",
        "zstd",
    ),
    Column("dropped_attributes_count", "UINTEGER", "attributes the SDK dropped"),
    Column("dropped_events_count", "UINTEGER", "events the SDK dropped"),
    Column("dropped_links_count", "UINTEGER", "links the SDK dropped"),
    Column("received_time", "TIMESTAMPTZ", "when the receiver took the request"),
    Column(
        "received_seq",
        "BIGINT",
        "number of the request in the order of receipt; grows over the life of DATA",
    ),
    Column("resource_schema_url", "VARCHAR", "schema URL of the resource; null when empty"),
    Column("resource_dropped_attributes_count", "UINTEGER", "attributes of the resource the SDK dropped"),
    Column("scope_schema_url", "VARCHAR", "schema URL of the scope and its spans; null when empty"),
    Column("scope_dropped_attributes_count", "UINTEGER", "attributes of the scope the SDK dropped"),
)

LOG_RECORDS: tuple[Column, ...] = (
    Column("project", "VARCHAR", "tenant; `default` where no key says otherwise"),
    Column("trace_id", "VARCHAR", "32 hex digits; null without trace context"),
    Column("span_id", "VARCHAR", "16 hex digits; null without trace context"),
    Column("flags", "UINTEGER", "W3C trace flags"),
    Column("time", "TIMESTAMPTZ", "when it happened; the observed time where that is not set"),
    Column("time_ns", "BIGINT", "the same, nanoseconds since 1970"),
    Column("observed_ns", "BIGINT", "when it was observed, nanoseconds since 1970"),
    Column("severity_number", "INTEGER", "as in OTLP"),
    Column("severity_text", "VARCHAR", "null when empty"),
    Column("event_name", "VARCHAR", "event name; older SDKs: taken from attribute event.name"),
    Column("body", "VARCHAR", "JSON value", "zstd"),
    Column("attributes", "VARCHAR", "JSON object", "zstd"),
    Column("service_name", "VARCHAR", "resource attribute service.name"),
    Column("resource", "VARCHAR", "resource attributes, JSON object", "zstd"),
    Column("scope_name", "VARCHAR", "instrumentation scope"),
    Column("scope_version", "VARCHAR", "version of the scope; null when empty"),
    Column("dropped_attributes_count", "UINTEGER", "attributes the SDK dropped"),
    Column("received_time", "TIMESTAMPTZ", "when the receiver took the request"),
    Column("received_seq", "BIGINT", "number of the request in the order of receipt"),
    Column("record_index", "INTEGER", "position in its request; (received_seq, record_index) is unique"),
    Column("scope_attributes", "VARCHAR", "JSON object; null when there are none"),
    Column("resource_schema_url", "VARCHAR", "schema URL of the resource; null when empty"),
    Column("resource_dropped_attributes_count", "UINTEGER", "attributes of the resource the SDK dropped"),
    Column("scope_schema_url", "VARCHAR", "schema URL of the scope and its records; null when empty"),
    Column("scope_dropped_attributes_count", "UINTEGER", "attributes of the scope the SDK dropped"),
)

TABLES: dict[str, tuple[Column, ...]] = {"spans": SPANS, "log_records": LOG_RECORDS}

TRACE_PARTS: tuple[Column, ...] = (
    Column("project", "VARCHAR", "tenant; `default` where no key says otherwise"),
    Column("trace_id", "VARCHAR", "32 hex digits"),
    Column("root_span_id", "VARCHAR", "the first root among these spans; null where none is"),
    Column("root_name", "VARCHAR", "its name"),
    Column("root_service_name", "VARCHAR", "its service"),
    Column("root_ns", "BIGINT", "its start, nanoseconds since 1970"),
    Column("root_end_ns", "BIGINT", "its end"),
    Column("first_name", "VARCHAR", "name of the span that started first"),
    Column("first_service_name", "VARCHAR", "its service"),
    Column("start_ns", "BIGINT", "when the first of these spans started"),
    Column("end_ns", "BIGINT", "when the last of them ended"),
    Column("error_ns", "BIGINT", "when the first with status error started; null where none has"),
    Column("num_spans", "BIGINT", "how many spans these are"),
    Column("num_errors", "BIGINT", "how many of them have status error"),
)
"""What the spans of a trace that landed together come to; a trace has one row or a few, and the view `traces` one."""

ROWS: dict[str, tuple[Column, ...]] = {**TABLES, "trace_parts": TRACE_PARTS}
"""Every table of the receiver's that can be queried."""


class Reader(Protocol):
    """Read-only SQL over everything the receiver has taken, acknowledged spans included."""

    def query(self, sql: str, parameters: list[Any] | None = None) -> "pa.Table":
        """Run one SELECT and return its rows."""
        ...

    def stream(self, sql: str, parameters: list[Any] | None = None) -> "pa.RecordBatchReader":
        """Run one SELECT and return its rows as they come, for results that need not fit into memory."""
        ...

    def close(self) -> None:
        """Let go of the files or the connection."""
        ...


def spans_directory(data: Path) -> Path:
    """Return the directory of the day files."""
    return data / "spans"


def literal(text: str) -> str:
    """Quote a string for SQL, where no parameter can be bound."""
    return "'" + text.replace("'", "''") + "'"


def shown_path(data: Path) -> Path:
    """Return the file that names the Parquet files behind each table a later stage has SQL show."""
    return data / "dataset" / "tables.json"


def show_files(data: Path, files: Mapping[str, Sequence[Path]]) -> None:
    """Have SQL over DATA show these Parquet files, all below `DATA/dataset`, as tables from now on.

    Every table has a column `project`, by which a key sees its own rows alone. The file is renamed into place, so that
    a query sees all tables of one moment; the files that were shown before may go once this returns.
    """
    directory = data / "dataset"
    named = {table: [str(path.relative_to(directory)) for path in paths] for table, paths in files.items()}
    write_json(shown_path(data), with_digest({"version": 1, "files": named}))


def shown_files(data: Path) -> dict[str, list[Path]]:
    """Return the files of every table that has some. Raises `SpanloopError` when it cannot be told."""
    path = shown_path(data)
    try:
        content = json.loads(path.read_bytes())
        if content["version"] != 1:
            raise SpanloopError(f"{path} has layout {content['version']}, this version reads 1")
        if not is_whole(content):
            raise SpanloopError(
                f"{path} cannot be read: its content is not what its sha256 says",
                hint="The next `spanloop etl run` writes it anew.",
            )
        directory = path.parent.absolute()
        return {table: [directory / name for name in names] for table, names in content["files"].items() if names}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SpanloopError(
            f"{path} cannot be read: {type(error).__name__}", hint="The next `spanloop etl run` writes it anew."
        ) from None


class HalfRead(SpanloopError):
    """Rows stopped coming before their end."""


def read_all(rows: "pa.RecordBatchReader") -> "pa.Table":
    """Return all rows of a query. Raises `SpanloopError` when it fails half-way."""
    try:
        return rows.read_all()
    except Exception as error:
        if isinstance(error, SpanloopError):
            raise
        raise HalfRead(f"the query failed while its rows were read: {error}") from error
