"""Copies every day as it is, beside landing, until whoever asked for it no longer wants it."""

import contextlib
from pathlib import Path

import duckdb

from receiver.store.landing import Store
from receiver.store.upkeep import back_up


class Copying:
    """One backup in the making."""

    def __init__(self, store: Store, staging: Path) -> None:
        self._store = store
        self._staging = staging
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._is_stopped = False

    def run(self) -> None:
        """Land what was taken and copy. Raises `duckdb.Error` when that fails or was stopped."""
        self._store.land()
        with self._store.pinned() as (connection, days):
            self._connection = connection
            if self._is_stopped:
                return
            back_up(connection, self._store.data, days, self._staging)

    def stop(self) -> None:
        """Have it end soon, if it has not yet."""
        self._is_stopped = True
        if self._connection is not None:
            with contextlib.suppress(duckdb.ConnectionException):  # it ended just now
                self._connection.interrupt()
