"""The day files that are open, each under a name in the database that changes when its file is replaced.

Whoever reads pins the names of that moment. A file that was replaced or removed meanwhile stays open under its old name
until the last of them is done, so that neither replacing nor removing waits for a reader.
"""

import contextlib
import itertools
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from datetime import date
from pathlib import Path

import duckdb

from foundation.files import sync_directory
from receiver.days.files import attach, database_name


class OpenDays:
    """The open day files of one database."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._names: dict[date, str] = {}
        self._read_only: dict[str, Path] = {}
        self._numbers = itertools.count(1)
        self._guard = threading.Lock()
        self._readers: Counter[str] = Counter()
        self._let_go: set[str] = set()

    def name(self, day: date) -> str:
        """Return the name a day is open under."""
        return self._names[day]

    def is_read_only(self, day: date) -> bool:
        """Tell whether a day is open for reading alone, so that other processes may read its file too."""
        return self._names[day] in self._read_only

    def files_to_share(self, names: Iterable[str]) -> dict[str, Path]:
        """Return the files, of days open under these names, that other processes may read too."""
        return {name: self._read_only[name] for name in names if name in self._read_only}

    def open(self, day: date, path: Path, *, read_only: bool) -> None:
        """Open a day file. Raises as `attach` does, and then it is not open."""
        self._names[day] = self._attach(day, path, database_name(day), read_only=read_only)

    def _attach(self, day: date, path: Path, name: str, *, read_only: bool) -> str:
        try:
            with contextlib.closing(self._connection.cursor()) as cursor:
                attach(cursor, path, day, read_only=read_only, name=name)
        except BaseException:
            self._detach(name)
            raise
        if read_only:
            self._read_only[name] = path
        return name

    def _detach(self, name: str) -> None:
        self._read_only.pop(name, None)
        with contextlib.suppress(duckdb.Error), contextlib.closing(self._connection.cursor()) as cursor:
            cursor.execute(f"detach {name}")

    def reopen(self, day: date, path: Path) -> None:
        """Open a day file anew that DuckDB has given up on, whoever reads it."""
        self._detach(self._names[day])
        self._attach(day, path, self._names[day], read_only=False)

    def reopen_read_only(self, day: date, path: Path) -> None:
        """Open a day for reading alone, unless somebody reads it now: DuckDB opens no file twice."""
        name = self._names[day]
        with self._guard:
            if not self._readers[name]:
                self._detach(name)
                self._attach(day, path, name, read_only=True)

    def replace(self, day: date, new: Path, path: Path, *, lock: AbstractContextManager[object]) -> None:
        """Put a new file in the place of a day's, and have all who come from now on read that one."""
        name = self._attach(day, new, f"{database_name(day)}_{next(self._numbers)}", read_only=True)
        try:
            new.replace(path)
            sync_directory(path.parent)
        except BaseException:
            self._detach(name)
            raise
        with lock:
            self._release(self._names[day])
            self._names[day] = name
            self._read_only[name] = path

    def let_go(self, day: date) -> None:
        """Close a day, once nobody reads it any more."""
        self._release(self._names.pop(day))

    def _release(self, name: str) -> None:
        with self._guard:
            if self._readers[name]:
                self._let_go.add(name)
            else:
                self._detach(name)

    # --- reading

    def pin(self) -> dict[date, str]:
        """Return the names of the days that are open, all of which stay open until they are unpinned."""
        with self._guard:
            self._readers.update(self._names.values())
            return dict(self._names)

    def unpin(self, names: Mapping[date, str]) -> None:
        """Have the names that were pinned closed where nobody else needs them."""
        with self._guard:
            for name in names.values():
                self._readers[name] -= 1
                if not self._readers[name]:
                    del self._readers[name]
                    if name in self._let_go:
                        self._let_go.remove(name)
                        self._detach(name)
