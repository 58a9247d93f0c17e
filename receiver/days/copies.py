"""Copies of a day, as it is or compacted, which is how one that is over is kept; and what an unfinished copy leaves."""

import contextlib
import secrets
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import duckdb

from receiver.database import remove_dead_temps
from receiver.days.files import create_tables
from receiver.decode.shared import COLUMNS as SHARED_COLUMNS
from receiver.tables import ROWS, SHARED_TEXTS, TABLES, literal, spans_directory
from receiver.traces import OF_PARTS

SEALED_ROW_GROUP_SIZE = 16_384
"""Rows of a sealed day that DuckDB reads or skips together. Larger ones would compress a tenth better, and looking one
trace up would read several times as much."""

SORTED_ROWS = 8 * SEALED_ROW_GROUP_SIZE
"""Rows that are sorted by trace at once on sealing: few enough for memory. The day as a whole stays in the order of
receipt, so that both an instant and a trace are found in few row groups."""

COPIED_TABLES = (*ROWS, SHARED_TEXTS, "landed", "log_requests")


def is_compacted(connection: duckdb.DuckDBPyConnection, name: str) -> bool:
    """Tell whether an attached day was rewritten when it was sealed."""
    found = connection.execute(
        "select count(*) from duckdb_tables() where database_name = ? and table_name = 'compacted'",
        [name],
    ).fetchall()
    return bool(found[0][0])


def copy_day(
    connection: duckdb.DuckDBPyConnection,
    source: str,
    target: Path,
    *,
    compact: bool,
    keep: Mapping[str, str] | None = None,
) -> None:
    """Write the rows of a day, attached as `source`, into a new file, as one transaction sees them, or leave no file.

    A compacted copy has larger row groups, each with few traces, one row of sums a trace, and says that it is one.
    `keep` has, by table, the condition that rows meet to be copied; then shared texts that no row refers to stay
    behind too.
    """
    copy = f"copy_{source}_{secrets.token_hex(4)}"
    target.unlink(missing_ok=True)
    options = f" (row_group_size {SEALED_ROW_GROUP_SIZE})" if compact else ""
    connection.execute(f"attach {literal(str(target.absolute()))} as {copy}{options}")
    try:
        create_tables(connection, copy)
        connection.execute("begin")
        for table in COPIED_TABLES:
            columns = ", ".join(column.name for column in ROWS[table]) if table in ROWS else "*"
            insert = f"insert into {copy}.{table} select {columns} from {source}.{table}"
            condition = keep.get(table, "true") if keep is not None else "true"
            if keep is not None and table == SHARED_TEXTS:
                condition = _is_referred_to(copy)
            if compact and table == "spans":
                for part in _parts(connection, f"{source}.{table}"):
                    connection.execute(f"{insert} where {part} and ({condition}) order by trace_id, start_ns")
            elif compact and table == "trace_parts":
                whole = OF_PARTS.format(parts=f"(from {source}.{table} where {condition})")
                connection.execute(f"insert into {copy}.{table} {whole} order by start_ns")
            else:
                connection.execute(f"{insert} where {condition}")
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


def _is_referred_to(name: str) -> str:
    """Return the condition of shared texts that rows of a day refer to."""
    named = " union ".join(
        f"select {column.name} from {name}.{table}"
        for table, columns in TABLES.items()
        for column in columns
        if column.name in SHARED_COLUMNS
    )
    return f"reference in ({named})"


def _parts(connection: duckdb.DuckDBPyConnection, table: str) -> Iterator[str]:
    """Yield conditions that divide a table, in the order it was written, into parts that can be sorted in memory."""
    last = connection.execute(f"select max(rowid) from {table}").fetchall()[0][0]
    for start in range(0, -1 if last is None else last + 1, SORTED_ROWS):
        yield f"rowid between {start} and {start + SORTED_ROWS - 1}"


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
