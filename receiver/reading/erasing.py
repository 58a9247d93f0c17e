"""Takes traces out of the days of a store, whichever receivers pushed them: each file that had them is written anew."""

import contextlib
import tempfile
from collections import Counter
from collections.abc import Collection
from pathlib import Path

import duckdb

from foundation.files import make_directory
from foundation.narration import get_logger
from foundation.store.pointer import Pointer, clear, describe, fetch, read_pointer, write_over
from foundation.store.store import Store, Superseded
from receiver.database import open_database
from receiver.days.forgetting import Trace, conditions, name_gone
from receiver.reading.archive import bucket_of, file_key, pointer_key, read_days, write_file
from receiver.reading.stored import remove_kept
from receiver.tables import literal

log = get_logger("receiver")


def erase(
    data: Path, store: Store, traces: Collection[Trace], names: Collection[str], *, dry_run: bool = False
) -> Counter[str]:
    """Remove traces, and log records outside any trace that name one of `names`; return how many rows that was.

    Files are written before a day's pointer names them; what it names no more goes last, and if that was interrupted
    before, now.
    """
    counts: Counter[str] = Counter()
    names = {name for name in names if name}
    make_directory(data)
    with (
        tempfile.TemporaryDirectory(prefix=".erasing-", dir=data) as scratch,
        contextlib.closing(open_database(data, memory_limit="2GB", writable=Path(scratch))) as database,
    ):
        name_gone(database, traces)
        buckets = {bucket_of(trace) for _, trace in traces} | ({bucket_of(None)} if names else set())
        for day in read_days(store):
            if not dry_run:
                clear(store, day)
            counts += _erase_of_day(database, store, day, names, buckets, Path(scratch), dry_run=dry_run)
    if not dry_run:
        remove_kept(data)
    return counts


def _erase_of_day(
    database: duckdb.DuckDBPyConnection,
    store: Store,
    day: Pointer,
    names: Collection[str],
    buckets: Collection[str],
    scratch: Path,
    *,
    dry_run: bool,
) -> Counter[str]:
    while True:
        key = pointer_key(day.facts["day"], day.facts["receiver"])
        counts, files = _without(database, store, day, names, buckets, scratch, dry_run=dry_run)
        if dry_run or not counts.total():
            return counts
        before, day.files = set(day.files), files
        day.facts["rows"] = dict(Counter(day.facts["rows"]) - counts)
        try:
            write_over(store, key, day, before)
        except Superseded:  # its receiver has just pushed it anew
            day = read_pointer(store, key)
            continue
        log.info("forgot in the store", store=store.url, day=day.facts["day"], **counts)
        return counts


def _without(
    database: duckdb.DuckDBPyConnection,
    store: Store,
    day: Pointer,
    names: Collection[str],
    buckets: Collection[str],
    scratch: Path,
    *,
    dry_run: bool,
) -> tuple[Counter[str], dict[str, dict[str, object]]]:
    """Return how many rows of a day are to go, and its files without them, which are in the store by then."""
    counts: Counter[str] = Counter()
    files: dict[str, dict[str, object]] = {}
    gone = conditions(names)
    here, new = scratch / "here.parquet", scratch / "new.parquet"
    for key, said in day.files.items():
        files[key] = said
        table = said["table"]
        if said["bucket"] not in buckets:
            continue
        fetch(store, key, said, here)
        rows = f"read_parquet({literal(str(here.absolute()))})"
        going = database.execute(f"select count(*) from {rows} where {gone[table]}").fetchall()[0][0]
        counts[table] += going
        if not going:
            continue
        del files[key]
        if not dry_run and said["rows"] > going:
            write_file(database, table, f"{rows} where ({gone[table]}) is not true", new)
            kept = {**said, **describe(new), "rows": said["rows"] - going}
            files[file_key(key.rpartition("/")[0], said["bucket"], kept)] = kept
            store.upload(file_key(key.rpartition("/")[0], said["bucket"], kept), new)
    return +counts, files
