"""Reads everything a DATA directory holds and says what is damaged."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import duckdb

from foundation.errors import SpanloopError
from receiver.database import open_database
from receiver.days import sequence
from receiver.days.files import attach, database_name, day_files
from receiver.decode.shared import COLUMNS, PREFIX
from receiver.log.disk import OsDisk
from receiver.log.wal import scan
from receiver.tables import ROWS, SHARED_TEXTS, TABLES


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
        for table, columns in ROWS.items():
            digests = ", ".join(f"bit_xor(hash({column.name}))" for column in columns)
            connection.execute(f"select {digests} from {name}.{table}").fetchall()
        yield from _verify_shared_texts(connection, name, path)
        num_doubled = connection.execute(
            f"""
            select count(*) from (
                select 1 from {name}.spans group by project, trace_id, span_id having count(*) > 1
            )
            """
        ).fetchall()[0][0]
        summed, stored = connection.execute(
            f"select (select coalesce(sum(num_spans), 0) from {name}.trace_parts), (select count(*) from {name}.spans)"
        ).fetchall()[0]
    except duckdb.Error as error:
        yield Damage(path, str(error).splitlines()[0])
        return
    if num_doubled:
        yield Damage(path, f"{num_doubled} spans are there more than once")
    if summed != stored:
        yield Damage(path, f"what traces come to was summed of {summed} spans, and {stored} are there")


def _verify_shared_texts(connection: duckdb.DuckDBPyConnection, name: str, path: Path) -> Iterator[Damage]:
    """Every text is the one its reference is the digest of, and every reference leads to one."""
    tables = "select 1 from duckdb_tables() where database_name = ? and table_name = ?"
    if not connection.execute(tables, [name, SHARED_TEXTS]).fetchall():
        return  # a day of an earlier release
    changed = f"select count(*) from {name}.{SHARED_TEXTS} where reference <> '{PREFIX}' || sha256(text)"
    if num_changed := connection.execute(changed).fetchall()[0][0]:
        yield Damage(path, f"{num_changed} texts that rows share are not what was stored")
    for table in TABLES:
        for column in COLUMNS:
            missing = f"""
                select count(distinct {column}) from {name}.{table}
                where starts_with({column}, '{PREFIX}')
                    and {column} not in (select reference from {name}.{SHARED_TEXTS})
                """
            if num_missing := connection.execute(missing).fetchall()[0][0]:
                yield Damage(path, f"{num_missing} texts that rows of {table} share are missing ({column})")
