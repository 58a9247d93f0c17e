"""What the receiver publishes: the tables `spans` and `log_records` in DuckDB, one file a receive day.

    DATA/spans/YYYY-MM-DD.duckdb    UTC day of receipt
    DATA/receiver.json              address, pid and token of the receiver that holds DATA, while one runs; mode 0600
    DATA/wal/*.seg                  requests acknowledged and not yet landed
    DATA/dataset/tables.json        which Parquet files SQL shows as tables; whoever makes them calls `show_files`

One process holds the files of a running receiver exclusively (DuckDB admits no other, not even a reader), so reading
goes through `connect`, which asks the running receiver where there is one and opens the files where there is none.

JSON columns hold OTLP values in plain JSON: strings, booleans, integers, doubles (always with a point or an exponent),
arrays and objects as themselves; bytes as `{"$bytes": "<base64>"}`; NaN and the infinities as `{"$double": "NaN"}`; a
value with nothing set as null. Instants exist twice: `*_time TIMESTAMPTZ` (microseconds, for people) and `*_ns BIGINT`
(nanoseconds since 1970, exact).
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foundation.web.places import Place
from receiver.tables import (
    LOG_RECORDS,
    ROWS,
    SCHEMA_VERSION,
    SPANS,
    TABLES,
    Column,
    Reader,
    show_files,
    spans_directory,
)

if TYPE_CHECKING:
    from receiver.reading.bounded import FileQueries

__all__ = [
    "LOG_RECORDS",
    "ROWS",
    "SCHEMA_VERSION",
    "SPANS",
    "TABLES",
    "Column",
    "Reader",
    "connect",
    "connect_with",
    "find",
    "find_all",
    "query_files",
    "show_files",
    "sources",
    "spans_directory",
]


def find(data: Path) -> dict[str, Any] | None:
    """Return where the receiver that holds DATA answers (`http`, `token`, `pid`), or None when none runs."""
    from receiver.reading.find import find_receiver

    return find_receiver(data)


def find_all(data: Path) -> list[dict[str, Any]]:
    """Return where the receivers answer that are read as one, as `find` does: several only where they are named."""
    from receiver.reading.find import find_receivers

    return find_receivers(data)


def connect(data: Path) -> Reader:
    """Open DATA for reading, through the running receiver else from its files; or what was named in its place."""
    from receiver.reading.opening import open_reader  # deferred: the contract itself imports nothing heavy

    return open_reader(data)


def sources(data: Path, named: Sequence[Place]) -> dict[str, Callable[[], Reader]]:
    """Return what opens each receiver of these places, by its URL, or that of its days in a store."""
    from receiver.reading.opening import sources as find_sources

    return find_sources(data, named)


def connect_with(data: Path, named: Sequence[Place]) -> Reader:
    """Open DATA for reading as one with receivers and stores: a row that is in several is read once."""
    from receiver.reading.opening import open_reader, open_together

    return open_together(data, named, [open_reader(data)])


def query_files(data: Path) -> "FileQueries":
    """Return what answers bounded SQL from the files of DATA, for servers that have no receiver to ask."""
    from receiver.reading.bounded import FileQueries

    return FileQueries(data)
