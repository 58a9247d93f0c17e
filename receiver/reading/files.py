"""Reads the day files directly, while no receiver runs."""

import contextlib
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa

from foundation.errors import SettingsError
from receiver.database import open_database
from receiver.days import sequence
from receiver.days.files import OutOfDate, attach, database_name, day_files
from receiver.log.disk import OsDisk
from receiver.log.wal import scan
from receiver.query import guard
from receiver.query import run as query
from receiver.query.views import create_views
from receiver.tables import TABLES, read_all


class FileReader:
    """Reads the day files directly; any number of processes may, while no receiver runs."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._connection = open_database(data, memory_limit="4GB")
        self._days: list[date] = []
        try:
            for day, path in day_files(data).items():
                attach(self._connection, path, day, read_only=True)
                self._days.append(day)
            for day in self._days:  # touching each one holds its state of now
                self._connection.execute(f"select seq from {database_name(day)}.landed").fetchall()
        except BaseException:
            self._connection.close()
            raise

    def query(self, sql: str, parameters: list[Any] | None = None) -> pa.Table:
        """Run one SELECT and return its rows."""
        return read_all(self.stream(sql, parameters))

    def stream(self, sql: str, parameters: list[Any] | None = None) -> pa.RecordBatchReader:
        """Run one SELECT and return its rows as they come."""
        needs = guard.needs(self._connection, sql, parameters)
        names = [database_name(day) for day in self._days]
        create_views(self._connection, self._data, names, {table: [] for table in TABLES}, needed=needs.views)
        return query.stream(self._connection, sql, parameters)

    def close(self) -> None:
        """Let go of the files."""
        self._connection.close()


def recover(data: Path) -> None:
    """Land what a receiver that did not end in order had acknowledged and not yet landed."""
    if is_clean(data):
        return
    from receiver.pipeline import Pipeline  # deferred: only after a crash

    try:
        Pipeline(data, purpose="recovery before reading").close()
    except OSError as error:
        raise SettingsError(
            f"{data} holds requests that have yet to be landed, and cannot be written: {error.strerror}",
            hint="Run the command as the receiver's user, or on a copy of the directory.",
        ) from error


def is_clean(data: Path) -> bool:
    """Tell whether the day files hold everything that was acknowledged."""
    days = day_files(data)
    if any(path.with_suffix(".duckdb.wal").exists() for path in days.values()):
        return False
    with contextlib.closing(open_database(data, memory_limit="1GB")) as connection:
        try:
            for day, path in days.items():
                attach(connection, path, day, read_only=True)
        except OutOfDate:
            return False
        recovery, _ = scan(data / "wal", OsDisk(), sequence.landed_seq(data, connection, list(days)))
    return not recovery.records
