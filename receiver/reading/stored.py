"""Reads sealed days of a store and what receivers hold as one: files of the store are kept in DATA/stored, by digest.

A span that is there twice, pushed and still in its receiver, or taken by two receivers, is read once.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa

from foundation.errors import Busy, SpanloopError
from foundation.files import make_directory
from foundation.store.pointer import Damaged, fetch
from foundation.store.store import Store
from receiver.database import open_database
from receiver.query import guard
from receiver.query import run as query
from receiver.query.reads import Needs
from receiver.query.views import Rows, create_views
from receiver.reading.archive import bucket_of, read_days
from receiver.tables import SCHEMA_VERSION, TABLES, Reader, literal, read_all

KEYS = {
    "spans": ("project", "trace_id", "span_id"),
    "log_records": ("project", "received_time", "received_seq", "record_index", "time_ns", "trace_id", "span_id"),
}
"""What tells rows of a table apart, whoever took them."""

File: TypeAlias = tuple[str, dict[str, Any]]
"""Key of a file in the store, and what its day's pointer says of it."""


class StoredReader:
    """Reads the days of a store, of all its receivers or of one, and readers of what is not sealed beside them."""

    def __init__(
        self,
        data: Path,
        stores: Sequence[Store],
        *,
        receiver: str | None = None,
        live: Sequence[Reader] = (),
    ) -> None:
        self._data, self._kept, self._live = data, data / "stored", tuple(live)
        self._stores, self._receiver = tuple(stores), receiver
        make_directory(self._kept)
        self._connection = open_database(data, memory_limit="4GB", writable=self._kept)
        self._days = [(store, day) for store in stores for day in read_days(store, receiver)]
        for store, day in self._days:
            if day.facts["columns"] > SCHEMA_VERSION:
                raise SpanloopError(
                    f"{store.url} has days of version {day.facts['columns']}, this release reads {SCHEMA_VERSION}",
                    hint="Use a newer one.",
                )

    def query(self, sql: str, parameters: list[Any] | None = None) -> pa.Table:
        """Run one SELECT and return its rows."""
        return read_all(self.stream(sql, parameters))

    def stream(self, sql: str, parameters: list[Any] | None = None) -> pa.RecordBatchReader:
        """Run one SELECT and return its rows as they come."""
        guard.check(self._connection, sql)
        needs = guard.needs(self._connection, sql, parameters)
        wanted = {*needs.views} | ({"spans"} if needs.views & {"traces", "trace_parts"} else set())
        tail: dict[str, Rows] = {table: self._rows(table, needs) if table in wanted else [] for table in TABLES}
        create_views(self._connection, self._data, (), tail, needed=needs.views, columns=needs.columns or None)
        return query.stream(self._connection, sql, parameters)

    def _rows(self, table: str, needs: Needs) -> Rows:
        names = [column.name for column in TABLES[table]]
        found = sorted({self._file(store, one) for store, one in self._files(table, needs)})
        sources = []
        if found:
            paths = ", ".join(literal(str(path.absolute())) for path in found)
            sources.append(f"select {', '.join(names)} from read_parquet([{paths}])")
        for number, reader in enumerate(self._live):
            name = f"live_{table}_{number}"
            self._connection.register(name, _ask(reader, table, names, needs))
            sources.append(f"from {name}")
        if not sources:
            return []
        body = " union all by name ".join(sources)
        if len(self._live) + len({day.facts["receiver"] for _, day in self._days}) > 1:
            body = f"select distinct on ({', '.join(KEYS[table])}) * from ({body}) order by received_time"
        return self._connection.sql(body)

    def _files(self, table: str, needs: Needs) -> Iterator[tuple[Store, File]]:
        """Yield the files that may hold what a statement reads: of named traces their buckets alone."""
        buckets = None if needs.traces is None else {bucket_of(trace) for trace in needs.traces}
        for store, day in self._days:
            for key, said in day.files.items():
                if said["table"] == table and (buckets is None or said["bucket"] in buckets):
                    yield store, (key, said)

    def _file(self, store: Store, file: File) -> Path:
        """Return where a file is kept here, brought from the store where it was not."""
        key, said = file
        kept = self._kept / f"{said['sha256']}.parquet"
        if not kept.exists():
            own = self._kept / f".{os.getpid()}-{kept.name}"  # others may bring the same one
            try:
                fetch(store, key, said, own)
            except Damaged as error:
                now = [day.files for day in read_days(store, self._receiver)]
                if not any(key in files for files in now):
                    raise Busy(f"{store.url}/{key} has been replaced meanwhile", hint="Try again.") from error
                raise
            own.replace(kept)
        return kept

    def close(self) -> None:
        """Let go of everything, and of files that no day names any more: something in them was to be forgotten."""
        self._connection.close()
        for reader in self._live:
            reader.close()
        if self._stores and self._receiver is None:
            named = {said["sha256"] for _, day in self._days for said in day.files.values()}
            remove_kept(self._data, keep=named)


def remove_kept(data: Path, *, keep: set[str] | frozenset[str] = frozenset()) -> None:
    """Remove what was brought here from stores, but for files with these digests."""
    for path in (data / "stored").glob("*.parquet"):
        if path.stem not in keep:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()


def _ask(reader: Reader, table: str, names: list[str], needs: Needs) -> pa.Table:
    """Return the rows of a table that a reader holds and a statement may read: their named columns and traces alone."""
    columns = needs.columns.get(table) if table in needs.views and not needs.views & {"traces", "trace_parts"} else None
    wanted = [name for name in names if columns is None or name in {*columns, *KEYS[table], "received_time"}]
    clauses = [*needs.conditions] if table in needs.views and needs.reads_once else []
    traces = sorted(needs.traces or ())
    if needs.traces is not None:
        clauses.append(f"trace_id in ({', '.join('?' * len(traces)) or 'null'})")
    where = f" where {' and '.join(clauses)}" if clauses else ""
    return reader.query(f"select {', '.join(wanted)} from {table}{where}", list(traces))
