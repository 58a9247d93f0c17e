"""What is done to day files besides writing them: sealing and compacting, retention, backup, verification."""

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import duckdb

from foundation.errors import SpanloopError
from foundation.files import sync_directory
from foundation.keys import keys_path
from receiver.database import open_database, remove_dead_temps
from receiver.log.disk import OsDisk
from receiver.log.wal import scan
from receiver.store import sequence
from receiver.store.days import (
    attach,
    create_tables,
    database_name,
    day_files,
    day_path,
    filter_path,
    is_sealed,
)
from receiver.tables import SHARED_TEXTS, TABLES, literal, spans_directory

SEALED_ROW_GROUP_SIZE = 16_384
"""Rows of a sealed day that DuckDB reads or skips together. Larger ones would compress a tenth better, and looking one
trace up would read several times as much."""

SORTED_ROWS = 8 * SEALED_ROW_GROUP_SIZE
"""Rows that are sorted by trace at once on sealing: few enough for memory. The day as a whole stays in the order of
receipt, so that both an instant and a trace are found in few row groups."""

COPIED_TABLES = (*TABLES, SHARED_TEXTS, "landed", "log_requests")


def is_compacted(connection: duckdb.DuckDBPyConnection, name: str) -> bool:
    """Tell whether an attached day was rewritten when it was sealed."""
    found = connection.execute(
        "select count(*) from duckdb_tables() where database_name = ? and table_name = 'compacted'",
        [name],
    ).fetchall()
    return bool(found[0][0])


def copy_day(connection: duckdb.DuckDBPyConnection, source: str, target: Path, *, compact: bool) -> None:
    """Write the rows of a day, attached as `source`, into a new file, as one transaction sees them, or leave no file.

    A compacted copy has larger row groups, each with few traces, and says that it is one.
    """
    copy = f"copy_{source}_{secrets.token_hex(4)}"
    target.unlink(missing_ok=True)
    options = f" (row_group_size {SEALED_ROW_GROUP_SIZE})" if compact else ""
    connection.execute(f"attach {literal(str(target.absolute()))} as {copy}{options}")
    try:
        create_tables(connection, copy)
        connection.execute("begin")
        for table in COPIED_TABLES:
            columns = ", ".join(column.name for column in TABLES[table]) if table in TABLES else "*"
            insert = f"insert into {copy}.{table} select {columns} from {source}.{table}"
            if compact and table == "spans":
                for part in _parts(connection, f"{source}.{table}"):
                    connection.execute(f"{insert} where {part} order by trace_id, start_ns")
            else:
                connection.execute(insert)
        if compact:
            connection.execute(f"create table {copy}.compacted as select now() as compacted_time")
        connection.execute("commit")
        connection.execute(f"checkpoint {copy}")
    except duckdb.Error:
        with contextlib.suppress(duckdb.Error):
            connection.execute("rollback")
        connection.execute(f"detach {copy}")
        target.unlink(missing_ok=True)
        raise
    connection.execute(f"detach {copy}")


def _parts(connection: duckdb.DuckDBPyConnection, table: str) -> Iterator[str]:
    """Yield conditions that divide a table, in the order it was written, into parts that can be sorted in memory."""
    last = connection.execute(f"select max(rowid) from {table}").fetchall()[0][0]
    for start in range(0, -1 if last is None else last + 1, SORTED_ROWS):
        yield f"rowid between {start} and {start + SORTED_ROWS - 1}"


def expired(data: Path, *, today: date, retain_days: int | None, retain_bytes: int | None) -> list[date]:
    """Return the sealed days to remove, oldest first: those too old, then as many as the size asks for."""
    days = day_files(data)
    sealed = [day for day in days if is_sealed(day, today)]
    gone = [day for day in sealed if retain_days is not None and day <= today - timedelta(days=retain_days)]
    if retain_bytes is not None:
        kept_bytes = sum(path.stat().st_size for day, path in days.items() if day not in gone)
        for day in [day for day in sealed if day not in gone]:
            if kept_bytes <= retain_bytes:
                break
            kept_bytes -= days[day].stat().st_size
            gone.append(day)
    return gone


def remove_day(data: Path, day: date) -> int:
    """Remove the files of a day; return the bytes that were freed."""
    path = day_path(data, day)
    freed = path.stat().st_size
    for file in (path, path.with_suffix(".duckdb.wal"), filter_path(data, day)):
        file.unlink(missing_ok=True)
    sync_directory(path.parent)
    return freed


LEFTOVERS = ("backup-*", "*.compacting", "*.rescued")
"""What a copy that was not finished leaves among the day files."""


def remove_leftovers(data: Path) -> None:
    """Remove what copies that a crash ended have left. The caller holds DATA."""
    for pattern in LEFTOVERS:
        for path in spans_directory(data).glob(pattern):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
    remove_dead_temps(data)


def back_up(connection: duckdb.DuckDBPyConnection, data: Path, days: Mapping[date, str], staging: Path) -> None:
    """Copy days, attached under the names given, into a new directory, each whole, with keys and sequence."""
    staging.mkdir(mode=0o700, parents=True)  # nothing may have landed yet, and no directory of days be there
    for day, name in days.items():
        copy_day(connection, name, staging / f"{day.isoformat()}.duckdb", compact=is_compacted(connection, name))
    for path in (keys_path(data), sequence.sequence_path(data)):
        if path.exists():
            shutil.copy2(path, staging / path.name)


def take_copies(staging: Path, out: Path) -> None:
    """Move what was backed up into the places a DATA directory has for it, durably."""
    spans = spans_directory(out)
    spans.mkdir(mode=0o700)
    for file in sorted(staging.iterdir()):
        target = spans / file.name if file.suffix == ".duckdb" else out / file.name
        shutil.move(file, target)
        target.chmod(0o600)
        with target.open("rb") as copied:
            os.fsync(copied.fileno())
    sync_directory(spans)


@dataclass(frozen=True)
class Damage:
    """Something that is not as it should be."""

    path: Path
    problem: str


def verify(data: Path) -> Iterator[Damage]:
    """Read everything there is and yield what is damaged. The caller holds DATA.

    Every block of a day file is read, which DuckDB checks against its checksum; identities must be unique, and no
    acknowledged record may be missing from the log.
    """
    with contextlib.closing(open_database(data, memory_limit="2GB")) as connection:
        attached: list[date] = []
        for day, path in day_files(data).items():
            try:
                attach(connection, path, day, read_only=True)
            except (SpanloopError, duckdb.Error) as error:
                yield Damage(path, str(error).splitlines()[0])
                continue
            attached.append(day)
            yield from _verify_day(connection, day, path)
        recovery, _ = scan(data / "wal", OsDisk(), sequence.landed_seq(data, connection, attached))
    for loss in recovery.losses:
        yield Damage(loss.path, f"acknowledged requests {loss.first_seq} to {loss.last_seq} are lost")
    for path in sorted((data / "wal" / "quarantine").glob("*")):
        yield Damage(path, "set aside at an earlier start")


def _verify_day(connection: duckdb.DuckDBPyConnection, day: date, path: Path) -> Iterator[Damage]:
    name = database_name(day)
    try:
        for table, columns in TABLES.items():
            digests = ", ".join(f"bit_xor(hash({column.name}))" for column in columns)
            connection.execute(f"select {digests} from {name}.{table}").fetchall()
        num_doubled = connection.execute(
            f"""
            select count(*) from (
                select 1 from {name}.spans group by project, trace_id, span_id having count(*) > 1
            )
            """
        ).fetchall()[0][0]
    except duckdb.Error as error:
        yield Damage(path, str(error).splitlines()[0])
        return
    if num_doubled:
        yield Damage(path, f"{num_doubled} spans are there more than once")
