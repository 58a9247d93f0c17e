"""Decoded requests into the day files, and everything taken so far as one consistent picture for queries.

Rows are first *hot*: Arrow batches in memory, visible to queries at once. Landing moves them into the day file in large
inserts, in one transaction with the sequence number reached. A query takes its list of hot batches and its snapshot of
the files under the lock in which a landing commits and drops what it landed, so it sees each row exactly once.

One span is stored once: `receiver.store.settle` says which version. Log records have no id: a request whose bytes
were stored before is ignored as a whole.
"""

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from foundation.errors import Busy, SpanloopError
from foundation.files import make_directory, make_private, sync_directory
from foundation.narration import get_logger
from receiver.database import open_database
from receiver.decode.arrow import SCHEMAS
from receiver.snapshot import Snapshot
from receiver.store import identity, sequence, settle
from receiver.store.days import (
    OutOfDate,
    day_files,
    day_path,
    filter_path,
    is_sealed,
)
from receiver.store.opened import OpenDays
from receiver.store.settle import IDS
from receiver.store.tail import Decoded, HotTail, of_traces, shared_of
from receiver.store.upkeep import copy_day, is_compacted, remove_day, remove_leftovers
from receiver.tables import TABLES, spans_directory

log = get_logger("receiver")

OPEN_PATIENCE_S = 5.0
"""How long a start waits for a command that reads a day file directly, as commands do while no receiver runs."""

CHECKPOINT_WAL_BYTES = 64 << 20
"""Size of DuckDB's own log beyond which it is folded into the day file; replaying it is what a restart waits for."""

ORDER = {"spans": "order by trace_id, start_ns", "log_records": ""}
"""How rows that land together lie in the file. A trace in one place is read from few row groups, which the range of
their trace ids tells, and compresses better: its conversation repeats."""


class Store:
    """The day files of one DATA directory and the rows on their way into them. Open it while holding DATA's lock.

    `publish` is called by one thread, `land` by one thread, `snapshot` by any.
    """

    def __init__(self, data: Path, *, today: date, memory_limit: str = "2GB") -> None:
        self.data = data
        self.counts: Counter[str] = Counter()
        for directory in (spans_directory(data), data / "wal"):  # an earlier release left them open to all
            make_private(directory)
        remove_leftovers(data)
        self._connection = open_database(data, memory_limit=memory_limit)
        self._opened = OpenDays(self._connection)
        self._days: dict[date, bool] = {}
        for day, path in day_files(data).items():
            sealed = is_sealed(day, today)
            self._open_day(day, read_only=sealed and not path.with_suffix(".duckdb.wal").exists())
            self._days[day] = sealed
        self.landed_seq = sequence.landed_seq(data, self._connection, list(self._days))
        self.floor_seq = sequence.floor_seq(data, self.landed_seq)
        self._reached_seq = self.landed_seq
        self._lock = threading.Lock()
        self._landing = threading.RLock()
        self._hot = HotTail()
        self._reading: set[duckdb.DuckDBPyConnection] = set()
        self._interruptible: set[duckdb.DuckDBPyConnection] = set()
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
    def num_hot_rows(self) -> int:
        """Rows waiting to land."""
        return self._hot.num_rows

    @property
    def num_hot_bytes(self) -> int:
        """Memory held by rows waiting to land."""
        return self._hot.num_bytes

    @property
    def oldest_hot_ns(self) -> int | None:
        """When the oldest row that waits to land was received; None when none waits."""
        with self._lock:
            return self._hot.requests[0].received_ns if self._hot.requests else None

    def _open_day(self, day: date, *, read_only: bool) -> None:
        """Attach a day file, migrated if need be, waiting a while for a query that reads the file directly."""
        path = day_path(self.data, day)
        deadline = time.monotonic() + OPEN_PATIENCE_S
        while True:
            try:
                self._opened.open(day, path, read_only=read_only)
                return make_private(path)
            except OutOfDate:
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
        known_spans = self._requests_with_known_spans(requests)
        with self._lock:
            known_logs = self._hot.log_keys & {request.log_key for request in requests}
        known_logs |= self._known_log_requests([request for request in requests if request.table == "log_records"])
        fresh: list[Decoded] = []
        for index, request in enumerate(requests):
            if request.table == "log_records":
                if request.log_key not in known_logs:
                    fresh.append(request)
                    known_logs.add(request.log_key)
                else:
                    self.counts["duplicate_log_records"] += request.batch.num_rows
            elif index not in known_spans:
                fresh.append(request)
            else:
                # Rare: land all that came before, so that there is one place to compare with.
                self._show(fresh, reached_seq=request.seq - 1)
                self.land()
                fresh = self._settle(requests[index:])
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
            batches = pa.Table.from_batches([request.batch.select(list(IDS)) for _, request in spans])
            is_known = self._is_stored(batches.take(pa.array(suspects)))
            known_owners |= {int(index) for index in owner[suspects[is_known]]}
        return known_owners

    def _filter_of(self, day: date) -> identity.IdentityFilter:
        return self._filters.setdefault(day, identity.IdentityFilter())

    def _show(self, fresh: list[Decoded], *, reached_seq: int) -> None:
        with self._lock:
            self._hot.add(fresh)
            for request in fresh:
                self.counts[f"stored_{request.table}"] += request.batch.num_rows
            self._reached_seq = reached_seq

    def _is_stored(self, suspects: pa.Table) -> npt.NDArray[np.bool_]:
        """Tell for each row of ids whether such a span is hot or in a day file."""
        with self.snapshot() as snapshot:
            cursor = snapshot.connection
            cursor.register("suspects", suspects.append_column("row", pa.array(range(suspects.num_rows))))
            cursor.register("waiting", pa.Table.from_batches(snapshot.tail["spans"], schema=SCHEMAS["spans"]))
            sources = ("waiting", *(f"{name}.spans" for name in snapshot.databases))
            # By trace first: joining all rows on one column and few on three costs less than half.
            near = " union all ".join(
                f"select {', '.join(IDS)} from {source} where trace_id in (select trace_id from suspects)"
                for source in sources
            )
            rows = cursor.execute(
                f"""
                with near as materialized ({near})
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
        files = " union all ".join(f"from {self._opened.name(day)}.log_requests" for day in self._days)
        with self._cursor() as cursor:
            rows = cursor.execute(
                f"select project || ' ' || digest from ({files}) where list_contains(?, digest)", [digests]
            ).fetchall()
        return {row[0] for row in rows}

    def _settle(self, requests: Sequence[Decoded]) -> list[Decoded]:
        """Compare requests with each other and with the day files; return what of them is new.

        Rows that replace an older version of a span do so here, in the day file that holds it.
        """
        settled: list[Decoded] = []
        logs = [request for request in requests if request.table == "log_records"]
        known = self._known_log_requests(logs)
        for request in logs:
            if request.log_key not in known:
                settled.append(request)
                known.add(request.log_key)
            else:
                self.counts["duplicate_log_records"] += request.batch.num_rows
        spans = [request for request in requests if request.table == "spans"]
        for day in sorted({request.day for request in spans}):
            settled += self._settle_spans([request for request in spans if request.day == day])
        return sorted(settled, key=lambda request: request.day)

    def _settle_spans(self, requests: list[Decoded]) -> list[Decoded]:
        arrived = pa.Table.from_batches([request.batch for request in requests])
        with self._landing, self._cursor() as cursor:
            self.counts.update(settle.choose_winners(cursor, arrived))
            shared = shared_of(requests)
            for day, sealed in self._days.items():
                if shared is not None and not sealed:
                    settle.keep_shared(cursor, self._opened.name(day), shared)
                self.counts.update(
                    settle.settle_with_day(cursor, self._opened.name(day), sealed=sealed, committing=self._lock)
                )
            last = requests[-1]
            texts = {reference: text for request in requests for reference, text in request.shared.items()}
            return [
                Decoded(last.seq, last.received_ns, "spans", batch, project=last.project, shared=texts)
                for batch in settle.new_spans(cursor)
            ]

    # --- landing

    def land(self, *, max_bytes: int | None = None) -> None:
        """Move everything hot into the day files, in the order of receipt, and note how far that reached.

        With `max_bytes` only the first so many bytes of it, one request at least: what a nearly full disk can take.
        """
        with self._landing:
            with self._lock:
                waiting, reached_seq = self._hot.first(max_bytes), self._reached_seq
                left = self._hot.requests[len(waiting) :]
                if left:
                    reached_seq = max(self.landed_seq, min(request.seq for request in left) - 1)
            if not waiting and reached_seq <= self.landed_seq:
                return
            while waiting:
                day = waiting[0].day
                count = next((i for i, request in enumerate(waiting) if request.day != day), len(waiting))
                group, waiting = waiting[:count], waiting[count:]
                self._land_day(day, group, max(request.seq for request in group) if waiting else reached_seq)
            if self.landed_seq < reached_seq and self._days:  # nothing but duplicates came last
                self._land_day(max(self._days), [], reached_seq)

    def _land_day(self, day: date, group: list[Decoded], seq: int) -> None:
        self._ensure_day(day)
        name = self._opened.name(day)
        with self._cursor() as cursor:
            cursor.execute("begin")
            try:
                for table in TABLES:
                    batches = [request.batch for request in group if request.table == table]
                    if batches:
                        cursor.register("landing", pa.Table.from_batches(batches))
                        cursor.execute(f"insert into {name}.{table} from landing {ORDER[table]}")
                        cursor.unregister("landing")
                if (shared := shared_of(group)) is not None:
                    settle.keep_shared(cursor, name, shared)
                digests = [
                    (request.project, request.body_digest) for request in group if request.table == "log_records"
                ]
                if digests:
                    cursor.executemany(f"insert into {name}.log_requests values (?, ?)", digests)
                cursor.execute(f"delete from {name}.landed")
                cursor.execute(f"insert into {name}.landed values (?)", [seq])
                with self._lock:
                    cursor.execute("commit")
                    self._hot.drop(len(group))
                    self.landed_seq = seq
            except duckdb.Error:
                with contextlib.suppress(duckdb.Error):
                    cursor.execute("rollback")
                self._reopen(day)
                raise
        wal = day_path(self.data, day).with_suffix(".duckdb.wal")
        if wal.exists() and wal.stat().st_size > CHECKPOINT_WAL_BYTES:
            self._checkpoint(day)

    def _ensure_day(self, day: date) -> None:
        if day in self._days:
            return
        path = day_path(self.data, day)
        make_directory(path.parent)
        with self._lock:
            self._opened.open(day, path, read_only=False)
            make_private(path)
            self._days[day] = False
        for earlier in self._days:
            if earlier < day:
                self._checkpoint(earlier)

    def _checkpoint(self, day: date) -> None:
        if self._days[day]:
            return
        try:
            with self._cursor() as cursor:
                cursor.execute(f"checkpoint {self._opened.name(day)}")
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
            self._connection.execute(f"select 1 from {self._opened.name(day)}.landed")
            return
        with (
            self._lock,
            contextlib.suppress(duckdb.Error, SpanloopError),
        ):  # the disk may still refuse; the next landing asks again
            self._opened.reopen(day, day_path(self.data, day))

    @property
    def refusal(self) -> str | None:
        """Why nothing more should be taken until `rescue` has run; None while every day file is there."""
        removed = self._removed_days()
        return f"{day_path(self.data, removed[0])} was removed while in use" if removed else None

    def _removed_days(self) -> list[date]:
        return [day for day in list(self._days) if not day_path(self.data, day).exists()]

    def rescue(self) -> None:
        """Write anew the day files that somebody removed while they are open here: their rows are still to be had."""
        for day in self._removed_days():
            path = day_path(self.data, day)
            name = self._opened.name(day)
            copy = path.with_suffix(".rescued")
            with self._landing, self._cursor() as cursor:
                make_directory(path.parent)
                copy_day(cursor, name, copy, compact=is_compacted(cursor, name))
                make_private(copy)
                if self._days[day]:
                    self._opened.replace(day, copy, path, lock=self._lock)
                else:
                    with self._lock:  # DuckDB's own log is named after the path a file was opened by
                        copy.replace(path)
                        sync_directory(path.parent)
                        self._opened.reopen(day, path)
            log.warning("a day file was removed while in use; it was written anew", file=path.name)

    # --- upkeep

    def seal(self, today: date) -> None:
        """Compact the days that take no more writes, and open them read-only. Called by the thread that lands.

        Neither landing nor queries wait for it: those under way go on reading the file as it was. A day that cannot be
        compacted now, for want of space say, stays readable as it is.
        """
        for day in [day for day in self._days if is_sealed(day, today)]:
            if not self._days[day]:
                with self._landing:
                    self._checkpoint(day)
                    if day_path(self.data, day).with_suffix(".duckdb.wal").exists():
                        continue  # a reader keeps DuckDB from folding its log; the next minute will do
                    self._days[day] = True
            if not is_compacted(self._connection, self._opened.name(day)):
                self._compact(day)
                self._save_filter(day)
                log.info("sealed", day=day.isoformat(), size_bytes=day_path(self.data, day).stat().st_size)
            elif not self._opened.is_read_only(day):
                with self._landing, self._lock:
                    self._opened.reopen_read_only(day, day_path(self.data, day))

    def _compact(self, day: date) -> None:
        path = day_path(self.data, day)
        compacted = path.with_suffix(".compacting")
        with self._cursor() as cursor:
            copy_day(cursor, self._opened.name(day), compacted, compact=True)
        make_private(compacted)
        self._opened.replace(day, compacted, path, lock=self._lock)

    def note_landed(self) -> None:
        """Write down how far landing has reached, outside the day files, which may be removed."""
        sequence.note(self.data, self.landed_seq)

    def retire(self, days: Sequence[date]) -> None:
        """Remove days for good; a query under way reads them to its end."""
        if days:
            self.note_landed()
        for day in days:
            with self._landing:
                if day in self._days:
                    with self._lock:
                        del self._days[day]
                        self._opened.let_go(day)
                    self._filters.pop(day, None)
                freed = remove_day(self.data, day)
            log.info("removed", day=day.isoformat(), freed_bytes=freed)

    @contextlib.contextmanager
    def pinned(self) -> Iterator[tuple[duckdb.DuckDBPyConnection, dict[date, str]]]:
        """Yield a connection and the names of the days that are open, all of which stay so meanwhile."""
        with self._cursor() as cursor:
            with self._lock:
                names = self._opened.pin()
            try:
                yield cursor, names
            finally:
                self._opened.unpin(names)

    # --- reading

    @contextlib.contextmanager
    def snapshot(self, *, traces: frozenset[str] | None = None, can_wait: bool = False) -> Iterator[Snapshot]:
        """Yield what sees every row published so far once; of those that have not landed perhaps these traces' alone.

        What runs on the connection of one that can wait is interrupted when landing needs its memory.
        """
        with self._cursor() as cursor:
            names: dict[date, str] = {}
            try:
                with self._lock:
                    names = self._opened.pin()
                    hot = self._hot.batches()
                    cursor.execute("begin")
                    for day, sealed in self._days.items():
                        if not sealed:  # DuckDB takes its snapshot of a database at the first touch
                            cursor.execute(f"select seq from {names[day]}.landed").fetchall()
                if traces is not None:
                    hot |= {table: of_traces(hot[table], traces) for table in TABLES}
                files = self._opened.files_to_share(names.values())
                self._reading.add(cursor)
                if can_wait:
                    self._interruptible.add(cursor)
                live = tuple(name for name in names.values() if name not in files)
                yield Snapshot(self.data, cursor, live, files, hot)
            finally:
                self._reading.discard(cursor)
                self._interruptible.discard(cursor)
                self._opened.unpin(names)

    def let_give_way(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Have what runs on a snapshot's connection from now on interrupted when landing needs its memory."""
        self._interruptible.add(connection)

    def interrupt_queries(self, *, every: bool = False) -> None:
        """End the queries that can wait, so that what they hold is free; at the end, every one."""
        for cursor in list(self._reading if every else self._interruptible):
            with contextlib.suppress(duckdb.ConnectionException):  # it ended just now
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
        table = f"{self._opened.name(day)}.spans"
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

    def _save_filter(self, day: date) -> None:
        with contextlib.suppress(OSError, duckdb.Error):  # it only saves time
            self._filter_of(day).save(filter_path(self.data, day), num_rows=self._num_spans(day))

    def _num_spans(self, day: date) -> int:
        with self._cursor() as cursor:
            return int(cursor.execute(f"select count(*) from {self._opened.name(day)}.spans").fetchall()[0][0])

    def close(self) -> None:
        """Close the files; DuckDB folds its own logs into them."""
        for day, sealed in self._days.items():
            if not sealed:
                self._checkpoint(day)
                self._save_filter(day)
        self._connection.close()
