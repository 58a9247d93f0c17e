"""The day files: one DuckDB database a UTC day of receipt, attached to one in-memory database that sees them all.

A day takes writes until the day after it has ended; older days are sealed and opened read-only.
"""

import contextlib
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb

from foundation.errors import Busy, SpanloopError
from receiver.tables import ROWS, SCHEMA_VERSION, SHARED_TEXTS, literal, spans_directory
from receiver.traces import OF_SPANS

ROW_GROUP_SIZE = 4096
"""DuckDB writes an insert of several row groups straight to the file, without its own log; hence small ones. Sealing
rewrites the day with large ones."""


def day_of(received_ns: int) -> date:
    """Return the UTC day of an instant."""
    return datetime.fromtimestamp(received_ns // 1_000_000_000, UTC).date()


def day_files(data: Path) -> dict[date, Path]:
    """Return the day files there are, in order."""
    found: dict[date, Path] = {}
    for path in sorted(spans_directory(data).glob("????-??-??.duckdb")):
        with contextlib.suppress(ValueError):  # another's file
            found[date.fromisoformat(path.stem)] = path
    return found


def day_path(data: Path, day: date) -> Path:
    """Return the path of a day's file."""
    return spans_directory(data) / f"{day.isoformat()}.duckdb"


def filter_path(data: Path, day: date) -> Path:
    """Return the path of the identities of a day's spans, kept beside its file to save reading it at a start."""
    return spans_directory(data) / f"{day.isoformat()}.ids"


def database_name(day: date) -> str:
    """Return the name a day file is attached under."""
    return f"day_{day:%Y%m%d}"


def is_sealed(day: date, today: date) -> bool:
    """Tell whether a day takes no more writes."""
    return day < today - timedelta(days=1)


def attach(
    connection: duckdb.DuckDBPyConnection, path: Path, day: date, *, read_only: bool, name: str | None = None
) -> None:
    """Attach a day file, under its day's name or another; one that is written to gets its tables first."""
    name = name or database_name(day)
    options = "read_only" if read_only else f"row_group_size {ROW_GROUP_SIZE}"
    try:
        connection.execute(f"attach {literal(str(path.absolute()))} as {name} ({options})")
    except duckdb.IOException as error:
        if "lock" in str(error).lower():
            raise Busy(
                f"{path} is open in another process",
                hint="A query that reads the files directly holds them until it ends; try again.",
            ) from error
        raise SpanloopError(f"{path} cannot be opened: {error}") from error
    if not read_only:
        create_tables(connection, name)
        migrate(connection, name)
    _check_version(connection, name, path)


def create_tables(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    """Create the published tables and the receiver's own book-keeping in a day file."""
    for table, columns in ROWS.items():
        declarations = ", ".join(
            f"{column.name} {column.type}" + (f" using compression {column.compression}" if column.compression else "")
            for column in columns
        )
        connection.execute(f"create table if not exists {name}.{table} ({declarations})")
    connection.execute(f"create table if not exists {name}.landed (seq bigint)")
    connection.execute(f"create table if not exists {name}.log_requests (project varchar, digest varchar)")
    connection.execute(CREATE_SHARED_TEXTS.format(name=name))
    connection.execute(f"create table if not exists {name}.schema_version as select {SCHEMA_VERSION} as version")


CREATE_SHARED_TEXTS = f"create table if not exists {{name}}.{SHARED_TEXTS} (reference varchar, text varchar)"

MIGRATIONS: dict[int, tuple[str, ...]] = {
    2: (
        "alter table {name}.spans add column if not exists resource_schema_url varchar",
        "alter table {name}.spans add column if not exists resource_dropped_attributes_count uinteger default 0",
        "alter table {name}.spans add column if not exists scope_schema_url varchar",
        "alter table {name}.spans add column if not exists scope_dropped_attributes_count uinteger default 0",
        "alter table {name}.log_records add column if not exists scope_attributes varchar",
        "alter table {name}.log_records add column if not exists resource_schema_url varchar",
        "alter table {name}.log_records add column if not exists resource_dropped_attributes_count uinteger default 0",
        "alter table {name}.log_records add column if not exists scope_schema_url varchar",
        "alter table {name}.log_records add column if not exists scope_dropped_attributes_count uinteger default 0",
    ),
    3: (CREATE_SHARED_TEXTS,),
    4: (f"create or replace table {{name}}.trace_parts as {OF_SPANS.format(spans='{name}.spans')} order by start_ns",),
}
"""What brings a day file of the version before to each version. Statements may run twice: DuckDB alters one table a
transaction, and the version is written last."""


class OutOfDate(SpanloopError):
    """A day file was written by an earlier release and has not been migrated yet."""


def migrate(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    """Bring a day file to the present schema version, one numbered step after the other."""
    version = _version(connection, name)
    for number in range(version + 1, SCHEMA_VERSION + 1):
        for statement in MIGRATIONS[number]:
            connection.execute(statement.format(name=name))
        connection.execute(f"update {name}.schema_version set version = {number}")


def _version(connection: duckdb.DuckDBPyConnection, name: str) -> int:
    return int(connection.execute(f"select max(version) from {name}.schema_version").fetchall()[0][0])


def _check_version(connection: duckdb.DuckDBPyConnection, name: str, path: Path) -> None:
    version = _version(connection, name)
    if version < SCHEMA_VERSION:
        raise OutOfDate(
            f"{path} has schema version {version}, not yet {SCHEMA_VERSION}",
            hint="A receiver brings it up to date when it starts: spanloop receiver run --data DIR",
        )
    if version > SCHEMA_VERSION:
        raise SpanloopError(
            f"{path} has schema version {version}; this receiver writes {SCHEMA_VERSION}",
            hint="Use the release that wrote it, or keep the directory and start with another --data.",
        )


def landed_seq(connection: duckdb.DuckDBPyConnection, days: list[date]) -> int:
    """Return the largest sequence number whose request is in the day files; 0 when none is."""
    seqs = [
        connection.execute(f"select coalesce(max(seq), 0) from {database_name(day)}.landed").fetchall()[0][0]
        for day in days
    ]
    return max(seqs, default=0)
