"""Bounded, read-only SQL over the files of DATA while no receiver runs, each statement where it can be ended."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb

from foundation.errors import Busy
from receiver.days.files import database_name, day_files
from receiver.query import guard
from receiver.query import run as query
from receiver.query.processes import DayGone, Job, QueryProcesses
from receiver.reading.files import is_clean, recover
from receiver.snapshot import Snapshot
from receiver.tables import TABLES

MEMORY_LIMIT, MEMORY_BYTES = "1GB", 10**9


class FileQueries:
    """What a receiver's `POST /v1/sql` answers, from the files: the same statements, bounds and limits to a project."""

    def __init__(
        self, data: Path, *, timeout_s: float = 20, max_rows: int = 1_000_000, max_bytes: int = 256 << 20
    ) -> None:
        self._data = data
        self._bounds = query.Bounds(timeout_s, max_rows, max_bytes)
        self._parser = duckdb.connect(":memory:")
        self._processes = QueryProcesses(data, memory_limit=MEMORY_LIMIT, memory_bytes=MEMORY_BYTES)
        self._seen_clean: tuple[tuple[str, int], ...] | None = None

    def answer(self, sql: str, parameters: list[Any], form: query.Format, project: str | None) -> Iterator[bytes]:
        """Run a statement and yield its encoded result. With a project it sees the rows of that one alone.

        Raises `SettingsError` for what may not run, `QueryTooExpensive` for what goes over its bounds, `Busy` when a
        receiver has come to hold DATA.
        """
        with contextlib.closing(self._parser.cursor()) as parser:
            guard.check(parser, sql)
            needs = guard.needs(parser, sql, parameters)
            self._recover()
            job = Job(sql, parameters, needs, project, form, self._bounds, keeps_days_open=False)
            try:
                yield from self._processes.stream(self._snapshot(parser), job)
            except DayGone as error:
                raise Busy("a day was removed meanwhile", hint="Try again.") from error

    def _recover(self) -> None:
        """Land what a receiver that died left in its log; looked for again when a file has changed."""
        seen = tuple(
            (str(path), path.stat().st_mtime_ns)
            for place in ("wal", "spans")
            for path in sorted((self._data / place).glob("*"))
        )
        if seen != self._seen_clean:
            if not is_clean(self._data):
                recover(self._data)
            self._seen_clean = seen

    def _snapshot(self, parser: duckdb.DuckDBPyConnection) -> Snapshot:
        sealed = {database_name(day): path for day, path in day_files(self._data).items()}
        return Snapshot(self._data, parser, (), sealed, {table: [] for table in TABLES})

    def close(self) -> None:
        """End every statement that still runs."""
        self._processes.close()
        with contextlib.suppress(duckdb.ResourceInUseException):
            self._parser.close()  # a statement that was just ended may still hold it, which is memory and nothing else
