"""Decoded requests on their way into the day files.

Rows are first *hot*: Arrow batches in memory, visible to queries at once. Landing moves them into the day file in large
inserts, in one transaction with the sequence number reached.

One span is stored once: `receiver.store.settle` says which version. Log records have no id: a request whose bytes
were stored before is ignored as a whole.
"""

import contextlib
from collections import Counter
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import duckdb
import pyarrow as pa

from foundation.files import make_private
from receiver.database import bound_cache, open_database
from receiver.days import sealing, sequence
from receiver.days.copies import remove_leftovers
from receiver.days.held import HeldDays
from receiver.store import settle
from receiver.store.known import KnownRows
from receiver.store.snapshots import Snapshots
from receiver.store.tail import Decoded, HotTail, shared_of
from receiver.tables import TABLES, spans_directory
from receiver.traces import OF_SPANS

ORDER = {"spans": "order by trace_id, start_ns", "log_records": ""}
"""How rows that land together lie in the file. A trace in one place is read from few row groups, which the range of
their trace ids tells, and compresses better: its conversation repeats."""


class Store:
    """The day files of one DATA directory and the rows on their way into them. Open it while holding DATA's lock.

    `publish` is called by one thread, `land`, `seal` and `retire` by one thread, `snapshots` by any.
    """

    def __init__(self, data: Path, *, today: date, memory_limit: str = "2GB") -> None:
        self.data = data
        self._memory_limit = memory_limit
        self.counts: Counter[str] = Counter()
        for directory in (spans_directory(data), data / "wal"):  # an earlier release left them open to all
            make_private(directory)
        remove_leftovers(data)
        database = open_database(data, memory_limit=memory_limit, has_bounded_cache=True)
        self.days = HeldDays(data, database, today=today)
        self.landed_seq = sequence.landed_seq(data, self.days.connection, list(self.days.sealed))
        self.floor_seq = sequence.floor_seq(data, self.landed_seq)
        self._reached_seq = self.landed_seq
        self._hot = HotTail()
        self.snapshots = Snapshots(self.days, self._hot)
        self._known = KnownRows(self.days, self.snapshots)

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
        with self.days.lock:
            return self._hot.requests[0].received_ns if self._hot.requests else None

    # --- publishing

    def publish(self, requests: Sequence[Decoded]) -> None:
        """Make requests, in the order of receipt, visible to queries; what is stored already is dropped and counted."""
        if not requests:
            return
        known_spans = self._known.requests_with_known_spans(requests)
        with self.days.lock:
            known_logs = self._hot.log_keys & {request.log_key for request in requests}
        known_logs |= self._known.log_requests([request for request in requests if request.table == "log_records"])
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

    def _show(self, fresh: list[Decoded], *, reached_seq: int) -> None:
        with self.days.lock:
            self._hot.add(fresh)
            for request in fresh:
                self.counts[f"stored_{request.table}"] += request.batch.num_rows
            self._reached_seq = reached_seq

    def _settle(self, requests: Sequence[Decoded]) -> list[Decoded]:
        """Compare requests with each other and with the day files; return what of them is new.

        Rows that replace an older version of a span do so here, in the day file that holds it.
        """
        settled: list[Decoded] = []
        logs = [request for request in requests if request.table == "log_records"]
        known = self._known.log_requests(logs)
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
        with self.days.writing, self.days.cursor() as cursor:
            self.counts.update(settle.choose_winners(cursor, arrived))
            shared = shared_of(requests)
            for day, sealed in self.days.sealed.items():
                name = self.days.name(day)
                if shared is not None and not sealed:
                    settle.keep_shared(cursor, name, shared)
                self.counts.update(settle.settle_with_day(cursor, name, sealed=sealed, committing=self.days.lock))
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
        with self.days.writing:
            with self.days.lock:
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
            if self.landed_seq < reached_seq and self.days.sealed:  # nothing but duplicates came last
                self._land_day(max(self.days.sealed), [], reached_seq)

    def _land_day(self, day: date, group: list[Decoded], seq: int) -> None:
        self.days.ensure(day)
        name = self.days.name(day)
        with self.days.cursor() as cursor:
            cursor.execute("begin")
            try:
                for table in TABLES:
                    batches = [request.batch for request in group if request.table == table]
                    if batches:
                        cursor.register("landing", pa.Table.from_batches(batches))
                        cursor.execute(f"insert into {name}.{table} from landing {ORDER[table]}")
                        if table == "spans":
                            cursor.execute(f"insert into {name}.trace_parts {OF_SPANS.format(spans='landing')}")
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
                with self.days.lock:
                    cursor.execute("commit")
                    self._hot.drop(len(group))
                    self.landed_seq = seq
            except duckdb.Error:
                with contextlib.suppress(duckdb.Error):
                    cursor.execute("rollback")
                self.days.reopen(day)
                raise
        self.days.checkpoint_if_long(day)

    # --- upkeep

    def seal(self, today: date) -> None:
        """Compact the days that take no more writes, and open them read-only."""
        for day in sealing.seal(self.days, today):
            self._known.save(day, self.landed_seq)

    def keep_known(self) -> None:
        """See to it that the next start, also after a kill, finds most of what is known written down."""
        self._known.save_long(self.landed_seq)

    def bound_cache(self) -> None:
        """Let go of what is kept of the day files in memory beyond a bound."""
        with self.days.cursor() as cursor:
            bound_cache(cursor, memory_limit=self._memory_limit)

    def note_landed(self) -> None:
        """Write down how far landing has reached, outside the day files, which may be removed."""
        sequence.note(self.data, self.landed_seq)

    def retire(self, days: Sequence[date]) -> None:
        """Remove days for good; a query under way reads them to its end."""
        if days:
            self.note_landed()
        for day in days:
            self.days.remove(day)
            self._known.forget(day)

    def close(self) -> None:
        """Close the files; DuckDB folds its own logs into them."""
        for day, sealed in self.days.sealed.items():
            if not sealed:
                self.days.checkpoint(day)
                self._known.save(day, self.landed_seq)
        self.days.connection.close()
