"""Copies every day as it is, beside landing, until whoever asked for it no longer wants it."""

import contextlib
from collections.abc import Callable
from pathlib import Path

import duckdb

from receiver.days.backup import back_up
from receiver.store.landing import Store

DECODING_PATIENCE_S = 60.0
"""How long a backup waits for what was acknowledged and lies in the log alone; what is slower is not in it."""


class Copying:
    """One backup in the making."""

    def __init__(self, store: Store, staging: Path, wait_for_decoding: Callable[[float], bool]) -> None:
        self._store = store
        self._staging = staging
        self._wait_for_decoding = wait_for_decoding
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._is_stopped = False

    def run(self) -> None:
        """Land what was acknowledged and copy. Raises `duckdb.Error` when that fails or was stopped."""
        self._wait_for_decoding(DECODING_PATIENCE_S)
        self._store.land()
        with self._store.days.pinned() as (connection, days):
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
