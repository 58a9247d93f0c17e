"""Decoded requests into the day files, and everything taken so far as one consistent picture for queries.

Rows are first *hot*: Arrow batches in memory, visible to queries at once. Landing moves them into the day file in large
inserts, in one transaction with the sequence number reached. A query takes its list of hot batches and its snapshot of
the files under the lock in which a landing commits and drops what it landed, so it sees each row exactly once.

One span is stored once per (project, trace_id, span_id). The same id with the same content is ignored. The same id with
other content keeps the row that ended later, and of two that ended together the one whose digest is larger: whatever
the order of arrival, the outcome is the same. A sealed day no longer changes. Log records have no id: a request whose
bytes were stored before is ignored as a whole.
"""

import contextlib
import hashlib
import itertools
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from foundation.errors import Busy, SpanloopError
from foundation.files import sync_directory
from foundation.narration import get_logger
from receiver import identity
from receiver.days import (
    OutOfDate,
    attach,
    database_name,
    day_files,
    day_of,
    day_path,
    filter_path,
    is_sealed,
    landed_seq,
    open_database,
)
from receiver.decode import SCHEMAS
from receiver.guard import Needs
from receiver.schema import SPANS, TABLES
from receiver.upkeep import back_up, copy_day, is_compacted, remove_day
from receiver.views import create_views

log = get_logger("receiver")

OPEN_PATIENCE_S = 5.0
"""How long a start waits for a command that reads a day file directly, as commands do while no receiver runs."""

SWAP_PATIENCE_S = 2.0
"""How long new queries wait for those under way when a day file is to be swapped, before that is put off."""

CHECKPOINT_WAL_BYTES = 64 << 20
"""Size of DuckDB's own log beyond which it is folded into the day file; replaying it is what a restart waits for."""

NOT_CONTENT = frozenset({"project", "received_time", "received_seq", "start_time", "end_time"})
CONTENT = ", '|', ".join(
    f"coalesce(length({column.name}::varchar) || ':' || {column.name}::varchar, '-')"
    for column in SPANS
    if column.name not in NOT_CONTENT
)
IDS = ["project", "trace_id", "span_id"]
ORDER = {"spans": "order by trace_id, start_ns", "log_records": ""}
"""How rows that land together lie in the file. A trace in one place is read from few row groups, which the range of
their trace ids tells, and compresses better: its conversation repeats."""
DIGEST = f"sha256(concat({CONTENT}))"
"""Digest of what a span says, whenever and however often it arrived. Lengths keep neighbouring columns apart."""


@dataclass(frozen=True)
class Decoded:
    """One request, ready to be stored."""

    seq: int
    received_ns: int
    table: str
    batch: pa.RecordBatch
    body_digest: str = ""
    """Digest of a log request's bytes, which is its identity."""
    project: str = "default"

    @property
    def day(self) -> date:
        """The UTC day of receipt."""
        return day_of(self.received_ns)


@dataclass(frozen=True)
class _Hot:
    decoded: Decoded
    log_key: str
    """Identity of a log request; empty for spans."""
    num_bytes: int

    @classmethod
    def of(cls, request: Decoded) -> "_Hot":
        key = f"{request.project} {request.body_digest}" if request.table == "log_records" else ""
        return cls(request, key, request.batch.nbytes)


def _of_traces(batches: list[pa.RecordBatch], traces: frozenset[str]) -> list[pa.RecordBatch]:
    """Return the batches that hold a row of one of these traces, found in one pass without Python's lock."""
    if not batches:
        return []
    column = pa.chunked_array([batch.column("trace_id") for batch in batches])
    rows = pc.indices_nonzero(pc.is_in(column, value_set=pa.array(sorted(traces), pa.string()))).to_numpy()
    ends = np.cumsum([batch.num_rows for batch in batches])
    return [batches[number] for number in np.unique(np.searchsorted(ends, rows, side="right"))]


def body_digest(body: bytes) -> str:
    """Return the identity of a log request."""
    return hashlib.blake2b(body, digest_size=16).hexdigest()


class BeingRead(SpanloopError):
    """A file cannot be swapped now, because a query has it open; the next minute will do."""


class Store:
    """The day files of one DATA directory and the rows on their way into them. Open it while holding DATA's lock.

    `publish` is called by one thread, `land` by one thread, `snapshot` by any.
    """

    def __init__(self, data: Path, *, today: date, memory_limit: str = "2GB") -> None:
        self.data = data
        self.counts: Counter[str] = Counter()
        self._connection = open_database(data, memory_limit=memory_limit)
        self._days: dict[date, bool] = {}
        for day, path in day_files(data).items():
            sealed = is_sealed(day, today)
            self._open_day(day, read_only=sealed and not path.with_suffix(".duckdb.wal").exists())
            self._days[day] = sealed
        self.landed_seq = landed_seq(self._connection, list(self._days))
        self._reached_seq = self.landed_seq
        self._lock = threading.Lock()
        self._landing = threading.RLock()
        self._hot: list[_Hot] = []
        self._hot_logs: set[str] = set()
        self._snapshots: set[duckdb.DuckDBPyConnection] = set()
        self._interruptible: set[duckdb.DuckDBPyConnection] = set()
        self.num_hot_rows = 0
        """Rows waiting to land."""
        self.num_hot_bytes = 0
        """Memory held by rows waiting to land."""
        self._filters = {day: self._load_filter(day) for day in self._days}

    @property
    def has_unlanded(self) -> bool:
        """Tell whether anything published has not reached its day file."""
        return self._reached_seq > self.landed_seq

    @property
    def reached_seq(self) -> int:
        """Number of the last request published."""
        return self._reached_seq

    @property
    def oldest_hot_ns(self) -> int | None:
        """When the oldest row that waits to land was received; None when none waits."""
        with self._lock:
            return self._hot[0].decoded.received_ns if self._hot else None

    def _open_day(self, day: date, *, read_only: bool) -> None:
        """Attach a day file, migrated if need be, waiting a while for a query that reads the file directly."""
        path = day_path(self.data, day)
        deadline = time.monotonic() + OPEN_PATIENCE_S
        while True:
            try:
                return attach(self._connection, path, day, read_only=read_only)
            except OutOfDate:
                self._connection.execute(f"detach {database_name(day)}")
                read_only = False
            except Busy:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    # --- publishing

    def publish(self, requests: Sequence[Decoded]) -> None:
        """Make requests, in the order of receipt, visible to queries; what is stored already is dropped and counted."""
        if not requests:
            return
        items = [_Hot.of(request) for request in requests]
        known_spans = self._requests_with_known_spans(requests)
        with self._lock:
            known_logs = self._hot_logs & {item.log_key for item in items}
        known_logs |= self._known_log_requests([request for request in requests if request.table == "log_records"])
        fresh: list[_Hot] = []
        for index, item in enumerate(items):
            if item.decoded.table == "log_records":
                if item.log_key not in known_logs:
                    fresh.append(item)
                    known_logs.add(item.log_key)
                else:
                    self.counts["duplicate_log_records"] += item.decoded.batch.num_rows
            elif index not in known_spans:
                fresh.append(item)
            else:
                # Rare: land all that came before, so that there is one place to compare with.
                self._show(fresh, reached_seq=item.decoded.seq - 1)
                self.land()
                fresh = self._settle(items[index:])
                break
        self._show(fresh, reached_seq=requests[-1].seq)

    def _requests_with_known_spans(self, requests: Sequence[Decoded]) -> set[int]:
        """Return the positions of the requests that hold a span known already, be it from an earlier one of them."""
        spans = [(index, request) for index, request in enumerate(requests) if request.table == "spans"]
        hashed = [identity.hashes(request.batch) for _, request in spans]
        if not hashed:
            return set()
        together = np.concatenate(hashed)
        owner = np.repeat([index for index, _ in spans], [len(part) for part in hashed])
        _, first = np.unique(together, return_index=True)
        is_repeated = np.ones(len(together), np.bool_)
        is_repeated[first] = False
        is_suspect = np.zeros(len(together), np.bool_)
        for known in self._filters.values():
            is_suspect |= known.contains(together)
        for (_, request), part in zip(spans, hashed, strict=True):
            self._filter_of(request.day).add(part)
        suspects = np.flatnonzero(is_suspect & ~is_repeated)
        known_owners = {int(index) for index in owner[is_repeated]}
        if len(suspects):
            batches = pa.Table.from_batches([request.batch.select(IDS) for _, request in spans])
            is_known = self._is_stored(batches.take(pa.array(suspects)))
            known_owners |= {int(index) for index in owner[suspects[is_known]]}
        return known_owners

    def _filter_of(self, day: date) -> identity.IdentityFilter:
        return self._filters.setdefault(day, identity.IdentityFilter())

    def _show(self, fresh: list[_Hot], *, reached_seq: int) -> None:
        with self._lock:
            for item in fresh:
                self._hot.append(item)
                self._hot_logs.add(item.log_key)
                self.num_hot_rows += item.decoded.batch.num_rows
                self.num_hot_bytes += item.num_bytes
                self.counts[f"stored_{item.decoded.table}"] += item.decoded.batch.num_rows
            self._reached_seq = reached_seq

    def _is_stored(self, suspects: pa.Table) -> npt.NDArray[np.bool_]:
        """Tell for each row of ids whether such a span is hot or in a day file."""
        with self.snapshot() as cursor:
            cursor.register("suspects", suspects.append_column("row", pa.array(range(suspects.num_rows))))
            rows = cursor.execute(
                # By trace first: joining all rows on one column and few on three costs less than half.
                f"""
                with near as materialized (
                    select {", ".join(IDS)} from spans where trace_id in (select trace_id from suspects)
                )
                select row from suspects semi join near using ({", ".join(IDS)})
                """
            ).fetchall()
        is_stored = np.zeros(suspects.num_rows, np.bool_)
        is_stored[[row for (row,) in rows]] = True
        return is_stored

    def _known_log_requests(self, requests: list[Decoded]) -> set[str]:
        if not requests or not self._days:
            return set()
        digests = [request.body_digest for request in requests]
        files = " union all ".join(f"from {database_name(day)}.log_requests" for day in self._days)
        with self._cursor() as cursor:
            rows = cursor.execute(
                f"select project || ' ' || digest from ({files}) where list_contains(?, digest)", [digests]
            ).fetchall()
        return {row[0] for row in rows}

    def _settle(self, items: list[_Hot]) -> list[_Hot]:
        """Compare requests with each other and with the day files; return what of them is new.

        Rows that replace an older version of a span do so here, in the day file that holds it.
        """
        settled: list[_Hot] = []
        logs = [item for item in items if item.decoded.table == "log_records"]
        known = self._known_log_requests([item.decoded for item in logs])
        for item in logs:
            if item.log_key not in known:
                settled.append(item)
                known.add(item.log_key)
            else:
                self.counts["duplicate_log_records"] += item.decoded.batch.num_rows
        spans = [item.decoded for item in items if item.decoded.table == "spans"]
        for day in sorted({request.day for request in spans}):
            settled += self._settle_spans([request for request in spans if request.day == day])
        return sorted(settled, key=lambda item: item.decoded.day)

    def _settle_spans(self, requests: list[Decoded]) -> list[_Hot]:
        arrived = pa.Table.from_batches([request.batch for request in requests])
        with self._landing, self._cursor() as cursor:
            cursor.register("arrived", arrived)
            cursor.execute(
                f"""
                create temp table winners as
                select *, {DIGEST} as digest, false as is_stored
                from arrived
                qualify row_number() over (
                    partition by project, trace_id, span_id order by end_ns desc, digest desc
                ) = 1
                """
            )
            versions, winners = cursor.execute(
                f"""
                select
                    (select count(distinct (project, trace_id, span_id, {DIGEST})) from arrived),
                    (select count(*) from winners)
                """
            ).fetchall()[0]
            self.counts["conflicting_spans"] += versions - winners
            self.counts["duplicate_spans"] += arrived.num_rows - versions
            for day, sealed in self._days.items():
                self._settle_day(cursor, database_name(day), sealed=sealed)
            names = ", ".join(SCHEMAS["spans"].names)
            new = cursor.sql(f"select {names} from winners where not is_stored").to_arrow_table()
        last = requests[-1]
        batches = new.cast(SCHEMAS["spans"]).combine_chunks().to_batches()
        fresh = [Decoded(last.seq, last.received_ns, "spans", batch, project=last.project) for batch in batches]
        return [_Hot.of(request) for request in fresh]

    def _settle_day(self, cursor: duckdb.DuckDBPyConnection, name: str, *, sealed: bool) -> None:
        ids = "project, trace_id, span_id"
        cursor.execute(
            f"""
            create temp table met as
            select
                {", ".join(f"w.{column}" for column in ids.split(", "))},
                w.digest = s.digest as is_same,
                (w.end_ns, w.digest) > (s.end_ns, s.digest) as is_newer
            from winners as w
            join (
                select {ids}, end_ns, {DIGEST} as digest from {name}.spans semi join winners using ({ids})
            ) as s using ({ids})
            """
        )
        same, other, newer = cursor.execute(
            """
            select
                count(*) filter (where is_same),
                count(*) filter (where not is_same),
                count(*) filter (where is_newer)
            from met
            """
        ).fetchall()[0]
        self.counts["duplicate_spans"] += same
        self.counts["conflicting_spans"] += other
        if newer and not sealed:
            columns = ", ".join(SCHEMAS["spans"].names)
            cursor.execute("begin")
            cursor.execute(f"delete from {name}.spans where ({ids}) in (select ({ids}) from met where is_newer)")
            cursor.execute(
                f"""
                insert into {name}.spans
                select {columns} from winners semi join (from met where is_newer) using ({ids})
                """
            )
            with self._lock:
                cursor.execute("commit")
        cursor.execute(f"update winners set is_stored = true where ({ids}) in (select ({ids}) from met)")
        cursor.execute("drop table met")

    # --- landing

    def land(self, *, max_bytes: int | None = None) -> None:
        """Move everything hot into the day files, in the order of receipt, and note how far that reached.

        With `max_bytes` only the first so many bytes of it, one request at least: what a nearly full disk can take.
        """
        with self._landing:
            with self._lock:
                waiting, reached_seq = self._first_hot(max_bytes), self._reached_seq
                left = self._hot[len(waiting) :]
                if left:
                    reached_seq = max(self.landed_seq, min(item.decoded.seq for item in left) - 1)
            if not waiting and reached_seq <= self.landed_seq:
                return
            while waiting:
                day = waiting[0].decoded.day
                count = next((i for i, item in enumerate(waiting) if item.decoded.day != day), len(waiting))
                group, waiting = waiting[:count], waiting[count:]
                self._land_day(day, group, max(item.decoded.seq for item in group) if waiting else reached_seq)
            if self.landed_seq < reached_seq and self._days:  # nothing but duplicates came last
                self._land_day(max(self._days), [], reached_seq)

    def _first_hot(self, max_bytes: int | None) -> list[_Hot]:
        if max_bytes is None:
            return list(self._hot)
        sizes = itertools.accumulate(item.num_bytes for item in self._hot)
        return self._hot[: max(1, sum(size <= max_bytes for size in sizes))]

    def _land_day(self, day: date, group: list[_Hot], seq: int) -> None:
        self._ensure_day(day)
        name = database_name(day)
        with self._cursor() as cursor:
            cursor.execute("begin")
            try:
                for table in TABLES:
                    batches = [item.decoded.batch for item in group if item.decoded.table == table]
                    if batches:
                        cursor.register("landing", pa.Table.from_batches(batches))
                        cursor.execute(f"insert into {name}.{table} from landing {ORDER[table]}")
                        cursor.unregister("landing")
                digests = [
                    (item.decoded.project, item.decoded.body_digest)
                    for item in group
                    if item.decoded.table == "log_records"
                ]
                if digests:
                    cursor.executemany(f"insert into {name}.log_requests values (?, ?)", digests)
                cursor.execute(f"delete from {name}.landed")
                cursor.execute(f"insert into {name}.landed values (?)", [seq])
                with self._lock:
                    cursor.execute("commit")
                    self._forget(len(group))
                    self.landed_seq = seq
            except duckdb.Error:
                with contextlib.suppress(duckdb.Error):
                    cursor.execute("rollback")
                self._reopen(day)
                raise
        wal = day_path(self.data, day).with_suffix(".duckdb.wal")
        if wal.exists() and wal.stat().st_size > CHECKPOINT_WAL_BYTES:
            self._checkpoint(day)

    def _forget(self, count: int) -> None:
        for item in self._hot[:count]:
            self._hot_logs.discard(item.log_key)
            self.num_hot_rows -= item.decoded.batch.num_rows
            self.num_hot_bytes -= item.num_bytes
        del self._hot[:count]

    def _ensure_day(self, day: date) -> None:
        if day in self._days:
            return
        path = day_path(self.data, day)
        path.parent.mkdir(parents=True, exist_ok=True)
        attach(self._connection, path, day, read_only=False)
        with self._lock:
            self._days[day] = False
        for earlier in self._days:
            if earlier < day:
                self._checkpoint(earlier)

    def _checkpoint(self, day: date) -> None:
        if self._days[day]:
            return
        try:
            with self._cursor() as cursor:
                cursor.execute(f"checkpoint {database_name(day)}")
        except duckdb.Error as error:
            log.info("checkpoint put off", day=day.isoformat(), reason=type(error).__name__)

    def mend(self) -> None:
        """Open anew every day file that DuckDB has given up on."""
        for day in [day for day, sealed in self._days.items() if not sealed]:
            with self._landing:
                self._reopen(day)

    def _reopen(self, day: date) -> None:
        """Open a day file anew: after an error of the disk DuckDB declares the whole database unusable."""
        with contextlib.suppress(duckdb.Error):
            self._connection.execute(f"select 1 from {database_name(day)}.landed")
            return
        with self._lock:
            with contextlib.suppress(duckdb.Error):
                self._connection.execute(f"detach {database_name(day)}")
            with contextlib.suppress(
                duckdb.Error, SpanloopError
            ):  # the disk may still refuse; the next landing asks again
                attach(self._connection, day_path(self.data, day), day, read_only=False)

    # --- upkeep

    def seal(self, today: date) -> None:
        """Compact the days that take no more writes, and open them read-only. Called by the thread that lands.

        A day that cannot be compacted now, for want of space say, stays readable as it is.
        """
        for day in [day for day in self._days if is_sealed(day, today)]:
            if self._days[day] and is_compacted(self._connection, day):
                continue
            path = day_path(self.data, day)
            compacted = path.with_suffix(".compacting")
            with self._landing, self._cursor() as cursor:
                needs_copy = not is_compacted(cursor, day)
                if needs_copy:
                    copy_day(cursor, day, compacted, compact=True)
                with self._quiet():
                    self._connection.execute(f"detach {database_name(day)}")
                    if needs_copy:
                        compacted.replace(path)
                        sync_directory(path.parent)
                    attach(self._connection, path, day, read_only=True)
                    self._days[day] = True
            with contextlib.suppress(OSError):
                self._filter_of(day).save(filter_path(self.data, day), num_rows=self._num_spans(day))
            log.info("sealed", day=day.isoformat(), size_bytes=path.stat().st_size)

    def retire(self, days: Sequence[date]) -> None:
        """Remove days for good."""
        for day in days:
            with self._landing, self._quiet():
                if day in self._days:
                    self._connection.execute(f"detach {database_name(day)}")
                    del self._days[day]
                    self._filters.pop(day, None)
                freed = remove_day(self.data, day)
            log.info("removed", day=day.isoformat(), freed_bytes=freed)

    def back_up(self, staging: Path) -> None:
        """Copy every day as it is now into a staging directory."""
        with self._landing, self._cursor() as cursor:
            back_up(cursor, self.data, list(self._days), staging)

    @contextlib.contextmanager
    def _quiet(self) -> Iterator[None]:
        """Hold off new queries and wait for those that run, whose file DuckDB cannot open a second time.

        Raises `BeingRead` when they take too long.
        """
        with self._lock:
            deadline = time.monotonic() + SWAP_PATIENCE_S
            while self._snapshots:
                if time.monotonic() > deadline:
                    raise BeingRead("a query under way reads the day files")
                time.sleep(0.01)
            yield

    # --- reading

    @contextlib.contextmanager
    def snapshot(
        self, *, project: str | None = None, needs: Needs | None = None, can_wait: bool = False
    ) -> Iterator[duckdb.DuckDBPyConnection]:
        """Yield a connection inside a transaction that sees, through the views, every row published so far once.

        With a project it sees that one's rows alone. Where it is known what a query needs it may leave out the rest,
        which makes looking a trace up several times faster. One that can wait is interrupted when landing needs its
        memory.
        """
        with self._cursor() as cursor:
            try:
                with self._lock:
                    self._snapshots.add(cursor)
                    if can_wait:
                        self._interruptible.add(cursor)
                    days = list(self._days)
                    hot = {
                        table: [item.decoded.batch for item in self._hot if item.decoded.table == table]
                        for table in TABLES
                    }
                    cursor.execute("begin")
                    for day, sealed in self._days.items():
                        if not sealed:  # DuckDB takes its snapshot of a database at the first touch
                            cursor.execute(f"select seq from {database_name(day)}.landed").fetchall()
                if needs is not None and needs.traces is not None:
                    hot = {table: _of_traces(batches, needs.traces) for table, batches in hot.items()}
                create_views(cursor, self.data, days, hot, project=project, needed=needs.views if needs else None)
                yield cursor
            finally:
                self._snapshots.discard(cursor)
                self._interruptible.discard(cursor)

    def interrupt_queries(self) -> None:
        """End the queries that can wait, so that what they hold is free."""
        for cursor in list(self._interruptible):
            cursor.interrupt()

    @contextlib.contextmanager
    def _cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        cursor = self._connection.cursor()
        try:
            yield cursor
        finally:
            cursor.close()

    def _load_filter(self, day: date) -> identity.IdentityFilter:
        """Return the identities of a day file: as kept beside it, or where that is out of date, from its rows."""
        path = filter_path(self.data, day)
        table = f"{database_name(day)}.spans"
        num_spans = self._num_spans(day)
        kept = identity.IdentityFilter.load(path)
        if kept is not None and kept[1] == num_spans:
            return kept[0]
        built = identity.IdentityFilter()
        for batch in self._connection.sql(f"select {', '.join(IDS)} from {table}").to_arrow_reader(1 << 17):
            built.add(identity.hashes(batch))
        if self._days[day]:
            with contextlib.suppress(OSError):  # it only saves time
                built.save(path, num_rows=num_spans)
        return built

    def _num_spans(self, day: date) -> int:
        with self._cursor() as cursor:
            return int(cursor.execute(f"select count(*) from {database_name(day)}.spans").fetchall()[0][0])

    def close(self) -> None:
        """Close the files; DuckDB folds its own logs into them."""
        for day, sealed in self._days.items():
            if not sealed:
                self._checkpoint(day)
                with contextlib.suppress(OSError, duckdb.Error):
                    self._filter_of(day).save(filter_path(self.data, day), num_rows=self._num_spans(day))
        self._connection.close()
