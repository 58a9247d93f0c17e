"""Sealed days in a store: Parquet by table, project and bucket, named by one pointer a day and receiver.

    days/<YYYY-MM-DD>/<receiver>.json                                          the pointer: which files are that day
    days/<YYYY-MM-DD>/<receiver>/<table>/<project>/<bucket>-<digest>.parquet

The bucket is the first hex digit of the MD5 of the trace id, so that a trace is in the same bucket whichever receivers
it reached. A day that changed here, since something was to be forgotten, is written again under other names.
"""

import contextlib
import hashlib
import secrets
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb

from foundation.errors import Busy
from foundation.files import write_atomically
from foundation.narration import get_logger
from foundation.store.pointer import Pointer, describe, read_pointer, write_over
from foundation.store.store import Store, key_of
from receiver.database import open_database
from receiver.days.copies import is_compacted
from receiver.days.files import attach, database_name, day_files, is_sealed
from receiver.query.views import create_views
from receiver.tables import SCHEMA_VERSION, TABLES, literal, spans_directory

log = get_logger("receiver")

BUCKET = "left(md5(coalesce(trace_id, '')), 1)"

ROW_GROUP_ROWS = 20_480

Report = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Part:
    """One file of a day: the rows of a bucket of a project."""

    table: str
    project: str
    bucket: str
    num_rows: int
    path: Path


def bucket_of(trace_id: str | None) -> str:
    """Return the bucket of a trace.

    >>> bucket_of("4bf92f3577b34da6a3ce929d0e0e4736")
    '5'
    """
    return hashlib.md5((trace_id or "").encode(), usedforsecurity=False).hexdigest()[:1]


def receiver_name(data: Path) -> str:
    """Return the name that tells the days of this DATA from those of others; it is made up once and kept."""
    path = spans_directory(data) / "receiver-name"
    if not path.exists():
        write_atomically(path, f"r{secrets.token_hex(4)}\n".encode())
    return path.read_text().strip()


def pointer_key(day: date | str, receiver: str) -> str:
    """Return the key of the pointer of a day of one receiver."""
    return f"{key_of('days', str(day), receiver)}.json"


def read_days(store: Store, receiver: str | None = None) -> list[Pointer]:
    """Return the pointers of the days of a store, of one receiver or of all, by day."""
    found = (read_pointer(store, key) for key, _ in store.names("days") if is_pointer_key(key))
    days = [day for day in found if "day" in day.facts and receiver in {None, day.facts["receiver"]}]
    return sorted(days, key=lambda day: (day.facts["day"], day.facts["receiver"]))


def is_pointer_key(key: str) -> bool:
    """Tell whether a key below `days` is that of a pointer.

    >>> is_pointer_key("days/2026-11-30/r1.json"), is_pointer_key("days/2026-11-30/r1/spans/shop/0-ab.parquet")
    (True, False)
    """
    return key.count("/") == 2 and key.endswith(".json")


def push_days(data: Path, store: Store, *, today: date | None = None, dry_run: bool = False) -> Report:
    """Write the sealed days that a store has not yet, or has as they were before; a receiver may run meanwhile."""
    today = today or datetime.now(UTC).date()
    pushed, rows = [], Counter[str]()
    for day, path in day_files(data).items():
        if not is_sealed(day, today) or path.with_suffix(".duckdb.wal").exists():
            break  # days go in order: whoever has read one of a receiver's has read those before
        name = receiver_name(data) if not dry_run or (spans_directory(data) / "receiver-name").exists() else ""
        pointer = read_pointer(store, pointer_key(day, name)) if name else Pointer()
        source = describe(path)["sha256"]
        if pointer.facts.get("source") == source:
            continue
        if not dry_run:
            try:
                rows += _push_day(data, store, day, name, pointer, source)
            except Busy:
                log.info("a day is still open in the receiver: it goes when it is sealed", day=day.isoformat())
                break
        pushed.append(day.isoformat())
    return {"days": pushed, "rows": dict(rows)}


def _push_day(data: Path, store: Store, day: date, receiver: str, pointer: Pointer, source: str) -> Counter[str]:
    before, rows = set(pointer.files), Counter[str]()
    pointer.files = {}
    with tempfile.TemporaryDirectory(prefix=".archive-", dir=spans_directory(data)) as scratch:
        for part in parts_of(data, day, Path(scratch)):
            said = describe(part.path)
            folder = key_of("days", day.isoformat(), receiver, part.table, part.project)
            key = file_key(folder, part.bucket, said)
            if key not in before:
                store.upload(key, part.path)
            pointer.files[key] = {
                **said, "table": part.table, "project": part.project, "bucket": part.bucket, "rows": part.num_rows
            }  # fmt: skip
            rows[part.table] += part.num_rows
            part.path.unlink()
    pointer.facts = {
        "day": day.isoformat(), "receiver": receiver, "columns": SCHEMA_VERSION, "source": source, "rows": dict(rows)
    }  # fmt: skip
    write_over(store, pointer_key(day, receiver), pointer, before)
    log.info("stored", store=store.url, day=day.isoformat(), files=len(pointer.files), **rows)
    return rows


def file_key(folder: str, bucket: str, said: dict[str, Any]) -> str:
    """Return the key of a file of a bucket: it holds the digest, so that other rows are another file."""
    return f"{folder}/{bucket}-{said['sha256'][:16]}.parquet"


def parts_of(data: Path, day: date, scratch: Path) -> Iterator[Part]:
    """Write the rows of a sealed day as files, one after the other, and yield each."""
    path = day_files(data)[day]
    with contextlib.closing(open_database(data, memory_limit="2GB", writable=scratch)) as database:
        attach(database, path, day, read_only=True)
        name = database_name(day)
        if not is_compacted(database, name):
            raise Busy(f"{path} is not sealed yet", hint="The receiver seals it within a minute.")
        create_views(database, data, [name], {table: [] for table in TABLES}, needed=frozenset(TABLES))
        for table in TABLES:
            found = database.execute(
                f"select project, {BUCKET} as bucket, count(*) from {table} group by all order by all"
            ).fetchall()
            for number, (project, bucket, num_rows) in enumerate(found):
                target = scratch / f"{table}-{number}.parquet"
                rows = f"{table} where project = {literal(project)} and {BUCKET} = {literal(bucket)}"
                write_file(database, table, rows, target)
                yield Part(table, project, bucket, num_rows, target)


def write_file(database: duckdb.DuckDBPyConnection, table: str, rows: str, target: Path) -> None:
    """Write the columns of a table of what SQL names as `rows`, in the order in which they lie in a store."""
    names = ", ".join(column.name for column in TABLES[table])
    order = "trace_id, received_seq, " + ("record_index" if table == "log_records" else "span_id")
    database.execute(
        f"""
        copy (
            select {names}
            from {rows}
            order by {order}
        ) to {literal(str(target))} (format parquet, compression zstd, row_group_size {ROW_GROUP_ROWS})
        """
    )
