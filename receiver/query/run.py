"""Runs one query within its bounds and writes its result as Arrow, JSON or CSV."""

import contextlib
import io
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import duckdb
import pyarrow as pa

from foundation import rows
from foundation.errors import SettingsError, SpanloopError
from receiver.query import guard

Format = Literal["arrow", "json", "csv", "parquet"]

CONTENT_TYPES: dict[Format, str] = {
    "arrow": "application/vnd.apache.arrow.stream",
    "json": "application/json",
    "csv": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
}

BATCH_ROWS = 20_480


@dataclass(frozen=True)
class Bounds:
    """What a query may cost."""

    timeout_s: float
    max_rows: int
    max_bytes: int


class QueryTooExpensive(SpanloopError):
    """A query went over its bound of time, rows or memory."""


NARROW = "Narrow it down: by time, by trace_id, or by columns."
GAVE_WAY = "the query was ended, because spans could not be landed beside it"


def too_long(timeout_s: float) -> str:
    """Say that a query was over its time."""
    return f"the query ran longer than {timeout_s:g} s"


def stream(
    connection: duckdb.DuckDBPyConnection, sql: str, parameters: list[Any] | None = None
) -> pa.RecordBatchReader:
    """Start a checked query and return its rows as they come. Raises `guard.QueryRefused` when it may not run."""
    guard.check(connection, sql)
    try:
        relation = connection.sql(sql, params=parameters or None)
        return relation.to_arrow_reader(BATCH_ROWS)
    except duckdb.CatalogException as error:
        raise guard.explain_missing(error) from None
    except duckdb.OutOfMemoryException as error:
        raise QueryTooExpensive(f"the query needs more memory than it may have: {error}") from None
    except duckdb.InterruptException:
        raise
    except duckdb.Error as error:
        raise SettingsError(str(error)) from None


def collect(connection: duckdb.DuckDBPyConnection, sql: str, parameters: list[Any] | None, bounds: Bounds) -> pa.Table:
    """Run a checked query to its end within its bounds."""
    with _deadline(connection, bounds.timeout_s):
        reader = stream(connection, sql, parameters)
        batches: list[pa.RecordBatch] = []
        num_rows = num_bytes = 0
        try:
            for batch in reader:
                batches.append(batch)
                num_rows += batch.num_rows
                num_bytes += batch.nbytes
                if num_rows > bounds.max_rows:
                    raise QueryTooExpensive(
                        f"the result has more than {bounds.max_rows:,} rows", hint="Aggregate, or add a LIMIT."
                    )
                if num_bytes > bounds.max_bytes:
                    raise QueryTooExpensive(
                        f"the result is larger than {bounds.max_bytes >> 20} MiB",
                        hint="Select fewer columns or rows.",
                    )
        except duckdb.OutOfMemoryException as error:
            raise QueryTooExpensive(f"the query needs more memory than it may have: {error}") from None
        except (pa.ArrowException, OSError) as error:
            raise SettingsError(str(error)) from None
        return pa.Table.from_batches(batches, schema=reader.schema)


@contextlib.contextmanager
def _deadline(connection: duckdb.DuckDBPyConnection, timeout_s: float) -> Iterator[None]:
    over = threading.Event()

    def interrupt() -> None:
        over.set()
        with contextlib.suppress(duckdb.ConnectionException):  # it ended just now
            connection.interrupt()

    timer = threading.Timer(timeout_s, interrupt)
    timer.start()
    try:
        yield
    except (duckdb.InterruptException, SettingsError) as error:
        if over.is_set():
            raise QueryTooExpensive(too_long(timeout_s), hint=NARROW) from None
        if isinstance(error, duckdb.InterruptException):
            raise QueryTooExpensive(GAVE_WAY, hint=NARROW) from None
        raise
    finally:
        timer.cancel()


def encode(table: pa.Table, form: Format) -> bytes:
    """Write a result in one of the formats; JSON is an array of one object a row."""
    if form == "json":
        return rows.as_json(table)
    if form == "csv":
        return rows.as_csv(table)
    sink = io.BytesIO()
    if form == "parquet":
        from pyarrow import parquet  # deferred: few ask for it

        parquet.write_table(table, sink, compression="zstd")
        return sink.getvalue()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()
