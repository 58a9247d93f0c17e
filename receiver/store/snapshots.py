"""Everything taken so far as one consistent picture for queries: the day files and the rows that have not landed.

A query takes its list of hot batches and its snapshot of the files under the lock in which a landing commits and drops
what it landed, so it sees each row exactly once.
"""

import contextlib
from collections.abc import Iterator
from datetime import date

import duckdb

from receiver.days.held import HeldDays
from receiver.snapshot import Snapshot
from receiver.store.tail import HotTail, of_traces
from receiver.tables import TABLES


class Snapshots:
    """Hands out snapshots to any thread, and ends the queries on them when what they hold is needed."""

    def __init__(self, days: HeldDays, hot: HotTail) -> None:
        self._days = days
        self._hot = hot
        self._reading: set[duckdb.DuckDBPyConnection] = set()
        self._interruptible: set[duckdb.DuckDBPyConnection] = set()

    @contextlib.contextmanager
    def take(self, *, traces: frozenset[str] | None = None, can_wait: bool = False) -> Iterator[Snapshot]:
        """Yield what sees every row published so far once; of those that have not landed perhaps these traces' alone.

        What runs on the connection of one that can wait is interrupted when landing needs its memory.
        """
        opened = self._days.opened
        with self._days.cursor() as cursor:
            names: dict[date, str] = {}
            try:
                with self._days.lock:
                    names = opened.pin()
                    hot = self._hot.batches()
                    cursor.execute("begin")
                    for day, sealed in self._days.sealed.items():
                        if not sealed:  # DuckDB takes its snapshot of a database at the first touch
                            cursor.execute(f"select seq from {names[day]}.landed").fetchall()
                if traces is not None:
                    hot |= {table: of_traces(hot[table], traces) for table in TABLES}
                files = opened.files_to_share(names.values())
                self._reading.add(cursor)
                if can_wait:
                    self._interruptible.add(cursor)
                live = tuple(name for name in names.values() if name not in files)
                yield Snapshot(self._days.data, cursor, live, files, hot)
            finally:
                self._reading.discard(cursor)
                self._interruptible.discard(cursor)
                opened.unpin(names)

    def let_give_way(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Have what runs on a snapshot's connection from now on interrupted when landing needs its memory."""
        self._interruptible.add(connection)

    def interrupt(self, *, every: bool = False) -> None:
        """End the queries that can wait, so that what they hold is free; at the end, every one."""
        for cursor in list(self._reading if every else self._interruptible):
            with contextlib.suppress(duckdb.ConnectionException):  # it ended just now
                cursor.interrupt()
