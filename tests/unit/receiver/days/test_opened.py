"""Day files under changing names, beside whoever reads them."""

from collections.abc import Iterator
from contextlib import nullcontext
from datetime import date
from pathlib import Path

import duckdb
import pytest

from foundation.errors import SpanloopError
from receiver.database import open_database
from receiver.days.files import database_name
from receiver.days.opened import OpenDays

DAY = date(2026, 3, 1)


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    (tmp_path / "spans").mkdir()
    connection = open_database(tmp_path, memory_limit="100MB")
    yield connection
    connection.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spans" / "2026-03-01.duckdb"


def attached(connection: duckdb.DuckDBPyConnection) -> set[str]:
    rows = connection.execute("select database_name from duckdb_databases() where not internal").fetchall()
    return {name for (name,) in rows} - {"memory"}


def other_file(connection: duckdb.DuckDBPyConnection, path: Path, name: str) -> Path:
    """Write a day file as a compaction does, with one span of this name."""
    new = path.with_suffix(".compacting")
    days = OpenDays(connection)
    days.open(date(2026, 3, 9), new, read_only=False)
    connection.execute(f"insert into {days.name(date(2026, 3, 9))}.spans (name) values ('{name}')")
    days.let_go(date(2026, 3, 9))
    return new


def test_a_file_that_is_replaced_stays_until_its_readers_are_done(
    connection: duckdb.DuckDBPyConnection, path: Path
) -> None:
    """Two of them: the old name goes with the last, the new one is for whoever comes from now on."""
    days = OpenDays(connection)
    days.open(DAY, path, read_only=False)
    readers = [days.pin(), days.pin()]

    days.replace(DAY, other_file(connection, path, "new"), path, lock=nullcontext())

    old, new = database_name(DAY), days.name(DAY)
    assert old != new
    assert days.pin() == {DAY: new}
    assert connection.execute(f"select count(*) from {old}.spans").fetchall() == [(0,)]
    assert connection.execute(f"select name from {new}.spans").fetchall() == [("new",)]
    days.unpin(readers[0])
    assert attached(connection) == {old, new}
    days.unpin(readers[1])
    assert attached(connection) == {new}


def test_only_days_open_for_reading_are_shared(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    """DuckDB locks a file that is written to; a replaced day's new file is read alone."""
    days = OpenDays(connection)
    days.open(DAY, path, read_only=False)
    name = days.name(DAY)
    assert [days.is_read_only(DAY), days.files_to_share([name, "gone"])] == [False, {}]

    days.reopen_read_only(DAY, path)

    assert [days.name(DAY), days.is_read_only(DAY), days.files_to_share([name])] == [name, True, {name: path}]


def test_a_day_somebody_reads_is_not_reopened(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    """It would be taken from under them; once they are done it may be."""
    days = OpenDays(connection)
    days.open(DAY, path, read_only=False)
    reading = days.pin()

    days.reopen_read_only(DAY, path)
    assert not days.is_read_only(DAY)

    days.unpin(reading)
    days.reopen_read_only(DAY, path)
    assert days.is_read_only(DAY)


def test_a_file_that_cannot_be_opened_leaves_nothing_open(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Neither at a start nor in the place of one that is: the day stays what it was."""
    days = OpenDays(connection)
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(SpanloopError, match="cannot be opened"):
        days.open(DAY, path, read_only=False)
    assert (attached(connection), days.pin()) == (set(), {})

    path.unlink()
    days.open(DAY, path, read_only=False)
    damaged = path.with_suffix(".compacting")
    damaged.write_bytes(b"no database" * 1000)
    with pytest.raises(SpanloopError):
        days.replace(DAY, damaged, path, lock=nullcontext())

    assert attached(connection) == {days.name(DAY)} == {database_name(DAY)}
    assert damaged.exists()
