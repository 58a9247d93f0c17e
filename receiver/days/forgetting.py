"""Removes traces for good: from the day files, each written anew without them, and from whatever else keeps requests.

Deleting a row leaves its bytes in a DuckDB file; a file that never had them does not.
"""

import contextlib
from collections import Counter
from collections.abc import Collection
from datetime import date
from pathlib import Path

import duckdb

from foundation.files import make_private, sync_directory
from foundation.narration import get_logger
from receiver.database import open_database
from receiver.days.copies import copy_day, is_compacted
from receiver.days.files import attach, database_name, day_files, day_path, filter_path
from receiver.tables import TABLES, literal

log = get_logger("receiver")

Trace = tuple[str, str]
"""Project and trace id."""

NAMES = ("gen_ai.response.id", "spanloop.episode.id", "gen_ai.conversation.id", "session.id")
"""Attributes by which a log record names what it judges without being in its trace."""


def forget(data: Path, traces: Collection[Trace], names: Collection[str], *, dry_run: bool = False) -> Counter[str]:
    """Remove traces, and log records outside any trace that name one of `names`; return how much that was.

    An empty name is none: it would be that of every record that names nothing. The caller holds DATA, and has had
    everything in the log landed.
    """
    counts: Counter[str] = Counter()
    names = {name for name in names if name}
    with contextlib.closing(open_database(data, memory_limit="2GB")) as database:
        name_gone(database, traces)
        for day, path in day_files(data).items():
            attach(database, path, day, read_only=True)
            counts += _forget_of_day(database, data, day, names, dry_run=dry_run)
        counts += _forget_aside(data / "wal" / "quarantine", traces, names, dry_run=dry_run)
    return counts


def name_gone(database: duckdb.DuckDBPyConnection, traces: Collection[Trace]) -> None:
    """Make the table of traces that `conditions` mean."""
    database.execute("create temp table gone (project varchar, trace_id varchar)")
    database.executemany("insert into gone values (?, ?)", [list(trace) for trace in sorted(traces)] or [["", ""]])


def conditions(names: Collection[str]) -> dict[str, str]:
    """Return what rows of each table fulfil that are to be forgotten, as SQL."""
    is_gone = "(project, trace_id) in (from gone)"
    listed = ", ".join(map(literal, sorted(names))) or "null"
    is_named = " or ".join(
        f"json_extract_string(attributes, {literal(f'$.{chr(34)}{one}{chr(34)}')}) in ({listed})" for one in NAMES
    )
    return {
        "spans": is_gone,
        "log_records": f"{is_gone} or (trace_id is null and ({is_named}))",
        "trace_parts": is_gone,
    }


def _forget_of_day(
    database: duckdb.DuckDBPyConnection, data: Path, day: date, names: Collection[str], *, dry_run: bool
) -> Counter[str]:
    name = database_name(day)
    gone = conditions(names)
    counts = Counter(
        {
            table: database.execute(f"select count(*) from {name}.{table} where {gone[table]}").fetchall()[0][0]
            for table in TABLES
        }
    )
    if not dry_run and counts.total():
        path = day_path(data, day)
        new = path.with_suffix(".compacting")
        keep = {table: f"({condition}) is not true" for table, condition in gone.items()}
        copy_day(database, name, new, compact=is_compacted(database, name), keep=keep)
        make_private(new)
        database.execute(f"detach {name}")
        new.replace(path)
        path.with_suffix(".duckdb.wal").unlink(missing_ok=True)
        filter_path(data, day).unlink(missing_ok=True)  # the next start makes it anew
        sync_directory(path.parent)
        log.info("forgot", day=day.isoformat(), **counts)
    else:
        database.execute(f"detach {name}")
    return counts


def _forget_aside(directory: Path, traces: Collection[Trace], names: Collection[str], *, dry_run: bool) -> Counter[str]:
    """Remove files with requests set aside that mention any of them, in whatever form."""
    marks = [mark for _, trace in traces for mark in (bytes.fromhex(trace), trace.encode())]
    marks += [name.encode() for name in names]
    found = [path for path in sorted(directory.glob("*")) if any(mark in path.read_bytes() for mark in marks)]
    if not dry_run:
        for path in found:
            path.unlink()
    return Counter(files_set_aside=len(found))
