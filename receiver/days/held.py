"""The day files while a receiver holds them: opened and created, mended, rescued and removed.

Two locks keep order. `writing` is held by whoever changes what a file says; `lock` only for the moment in which what a
new snapshot would see changes, so that no query waits for a file to be written.
"""

import contextlib
import threading
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import duckdb

from foundation.errors import Busy, SpanloopError
from foundation.files import make_directory, make_private, sync_directory
from foundation.narration import get_logger
from receiver.days.copies import copy_day, is_compacted
from receiver.days.files import OutOfDate, day_files, day_path, is_sealed
from receiver.days.opened import OpenDays
from receiver.days.retention import remove_day

log = get_logger("receiver")

OPEN_PATIENCE_S = 5.0
"""How long a start waits for a command that reads a day file directly, as commands do while no receiver runs."""

CHECKPOINT_WAL_BYTES = 64 << 20
"""Size of DuckDB's own log beyond which it is folded into the day file; replaying it is what a restart waits for."""


class HeldDays:
    """Every day file of one DATA directory, open in one database."""

    def __init__(self, data: Path, connection: duckdb.DuckDBPyConnection, *, today: date) -> None:
        self.data = data
        self.connection = connection
        self.lock = threading.Lock()
        self.writing = threading.RLock()
        self.opened = OpenDays(connection)
        self.sealed: dict[date, bool] = {}
        """The days there are, and whether each takes no more rows."""

        for day, path in day_files(data).items():
            sealed = is_sealed(day, today)
            self._open(day, read_only=sealed and not path.with_suffix(".duckdb.wal").exists())
            self.sealed[day] = sealed

    def _open(self, day: date, *, read_only: bool) -> None:
        """Attach a day file, migrated if need be, waiting a while for a query that reads the file directly."""
        path = day_path(self.data, day)
        deadline = time.monotonic() + OPEN_PATIENCE_S
        while True:
            try:
                self.opened.open(day, path, read_only=read_only)
                return make_private(path)
            except OutOfDate:
                read_only = False
            except Busy:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def name(self, day: date) -> str:
        """Return the name a day is open under."""
        return self.opened.name(day)

    @contextlib.contextmanager
    def cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Yield a connection of one's own to the database that has them open."""
        cursor = self.connection.cursor()
        try:
            yield cursor
        finally:
            cursor.close()

    @contextlib.contextmanager
    def pinned(self) -> Iterator[tuple[duckdb.DuckDBPyConnection, dict[date, str]]]:
        """Yield a connection and the names of the days that are open, all of which stay so meanwhile."""
        with self.cursor() as cursor:
            with self.lock:
                names = self.opened.pin()
            try:
                yield cursor, names
            finally:
                self.opened.unpin(names)

    # --- written to

    def ensure(self, day: date) -> None:
        """Make the file of a day that is not there yet."""
        if day in self.sealed:
            return
        path = day_path(self.data, day)
        make_directory(path.parent)
        with self.lock:
            self.opened.open(day, path, read_only=False)
            make_private(path)
            self.sealed[day] = False
        for earlier in self.sealed:
            if earlier < day:
                self.checkpoint(earlier)

    def checkpoint(self, day: date) -> None:
        """Fold DuckDB's own log into the file of a day, if nobody is in the way."""
        if self.sealed[day]:
            return
        try:
            with self.cursor() as cursor:
                cursor.execute(f"checkpoint {self.name(day)}")
        except duckdb.Error as error:
            log.info("checkpoint put off", day=day.isoformat(), reason=type(error).__name__)

    def checkpoint_if_long(self, day: date) -> None:
        """Fold DuckDB's own log into the file of a day where it has grown long."""
        wal = day_path(self.data, day).with_suffix(".duckdb.wal")
        if wal.exists() and wal.stat().st_size > CHECKPOINT_WAL_BYTES:
            self.checkpoint(day)

    # --- mended

    def mend(self) -> None:
        """Open anew every day file that DuckDB has given up on."""
        for day in [day for day, sealed in self.sealed.items() if not sealed]:
            with self.writing:
                self.reopen(day)

    def reopen(self, day: date) -> None:
        """Open a day file anew: after an error of the disk DuckDB declares the whole database unusable."""
        with contextlib.suppress(duckdb.Error):
            self.connection.execute(f"select 1 from {self.name(day)}.landed")
            return
        with (
            self.lock,
            contextlib.suppress(duckdb.Error, SpanloopError),
        ):  # the disk may still refuse; the next landing asks again
            self.opened.reopen(day, day_path(self.data, day))

    @property
    def refusal(self) -> str | None:
        """Why nothing more should be taken until `rescue` has run; None while every day file is there."""
        removed = self._removed()
        return f"{day_path(self.data, removed[0]).name} was removed while in use" if removed else None

    def _removed(self) -> list[date]:
        return [day for day in list(self.sealed) if not day_path(self.data, day).exists()]

    def rescue(self) -> None:
        """Write anew the day files that somebody removed while they are open here: their rows are still to be had."""
        for day in self._removed():
            path = day_path(self.data, day)
            name = self.name(day)
            copy = path.with_suffix(".rescued")
            with self.writing, self.cursor() as cursor:
                make_directory(path.parent)
                copy_day(cursor, name, copy, compact=is_compacted(cursor, name))
                make_private(copy)
                if self.sealed[day]:
                    self.opened.replace(day, copy, path, lock=self.lock)
                else:
                    with self.lock:  # DuckDB's own log is named after the path a file was opened by
                        copy.replace(path)
                        sync_directory(path.parent)
                        self.opened.reopen(day, path)
            log.warning("a day file was removed while in use; it was written anew", file=path.name)

    def remove(self, day: date) -> None:
        """Remove a day for good; a query under way reads it to its end."""
        with self.writing:
            if day in self.sealed:
                with self.lock:
                    del self.sealed[day]
                    self.opened.let_go(day)
            freed = remove_day(self.data, day)
        log.info("removed", day=day.isoformat(), freed_bytes=freed)
