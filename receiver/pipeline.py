"""From a checked request to a row in a day file: log it durably, decode it, show it to queries, land it.

submit ──▶ group commit (wal) ──▶ acknowledged
                  └──▶ digest thread: decode, publish ──▶ visible to SQL
                                          └──▶ landing thread ──▶ day file ──▶ segments of the log free again
"""

import contextlib
import itertools
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import duckdb

from foundation.files import write_atomically
from foundation.narration import get_logger
from receiver.days.retention import expired
from receiver.decode import otlp
from receiver.decode.refusals import Overloaded
from receiver.flow.admission import Admission
from receiver.flow.clock import Clock
from receiver.flow.decoding import decode_record
from receiver.flow.vital import VitalThread, describe
from receiver.log.commit import GroupCommit
from receiver.log.disk import Disk, OsDisk
from receiver.log.records import Entry, Record
from receiver.log.wal import WriteAheadLog
from receiver.query.reads import Needs
from receiver.query.views import show
from receiver.snapshot import Snapshot
from receiver.store import reserve
from receiver.store.copying import Copying
from receiver.store.landing import Store
from receiver.store.lock import hold
from receiver.store.tail import Decoded

log = get_logger("receiver")

DIGEST_BYTES = 8 << 20
"""Requests decoded before they are shown together; bounds how long a queryable span may wait for its neighbours."""

LAND_ROWS = 32_768
"""Rows that are landed at once, without waiting for the next tick: eight row groups."""

LAND_BYTES = 64 << 20
"""The same for rows that are large."""

MOST_LAND_BYTES = 256 << 20
"""What is landed in one insert, at most; it bounds memory where a long log is replayed. Several smaller inserts cost
more: each ends in a row group that is not full, which DuckDB writes again when it checkpoints."""

QUIET_S = 0.5
"""Rows that no others have followed for this long are landed at once: there is nothing to gain by waiting."""

LEAST_LAND_BYTES = 1 << 20
"""What is landed at once, at least, when the disk refuses more: each failure halves what is tried next."""

PUBLISH_ATTEMPTS = 3
"""How often a start tries to publish what it replays before it gives up, with everything still in the log."""

CLOSING_ATTEMPTS = 4
"""How often landing may fail at the end before the rest is left to the next start."""

PATIENCE_S = 20.0
"""How long a query waits until what was acknowledged before it is decoded: milliseconds, but on a starved machine."""

UPKEEP_EVERY_S = 60.0
"""How often the receiver looks for days to seal or to remove, and gives back memory that it does not need."""


class Pipeline:
    """Everything between the sockets and the files of one DATA directory, which it holds exclusively."""

    def __init__(
        self,
        data: Path,
        *,
        land_every_s: float = 1.5,
        max_backlog_bytes: int = 256 << 20,
        memory_limit: str = "2GB",
        reserve_bytes: int = 128 << 20,
        disk: Disk | None = None,
        clock: Callable[[], int] = time.time_ns,
        retain_days: int | None = None,
        retain_bytes: int | None = None,
        purpose: str = "spanloop receiver",
        on_failure: Callable[[], None] = lambda: None,
        on_upkeep: Callable[[], None] = lambda: None,
        on_idle: Callable[[], None] = lambda: None,
    ) -> None:
        self.data = data
        self.counts: Counter[str] = Counter()
        self._land_every_s = land_every_s
        self.max_backlog_bytes = max_backlog_bytes
        self._disk = disk or OsDisk()
        self._clock = Clock(clock)
        self._on_failure, self._on_upkeep, self._on_idle = on_failure, on_upkeep, on_idle
        self.failure: str | None = None
        self._retain_days, self._retain_bytes = retain_days, retain_bytes
        self._next_upkeep = 0.0
        self._land_limit: int | None = None
        self._exit = contextlib.ExitStack()
        self._changed = threading.Condition()
        self._queue: deque[Record] = deque()
        self._durable_seq = 0
        self._published_seq = 0
        self._upkept_seq = 0
        self._idle_seq: int | None = None
        self._is_stuck = False
        self._is_closing = False
        self._exit.enter_context(hold(data, purpose))
        try:
            self.store = Store(data, today=self._clock.today(), memory_limit=memory_limit)
            self._exit.callback(self.store.close)
            self._admission = Admission(
                data,
                self._disk,
                max_backlog_bytes=max_backlog_bytes,
                reserve_bytes=reserve_bytes,
                changed=self._changed,
                landing_bytes=lambda: self.store.num_hot_bytes,
            )
            segment_bytes = reserve.segment_bytes(self._disk.space(data))
            self._wal = WriteAheadLog(data / "wal", self._disk, segment_bytes=segment_bytes)
            recovery = self._wal.open(self.store.landed_seq, floor_seq=self.store.floor_seq)
            self.losses = recovery.losses
            for loss in recovery.losses:
                log.error("the log is damaged", file=loss.path.name, first_lost=loss.first_seq, last_lost=loss.last_seq)
            self.num_replayed = len(recovery.records)
            if recovery.records:  # a long start says what it is about
                log.info("replaying", requests=self.num_replayed)
            self._durable_seq = self._published_seq = self._upkept_seq = self._wal.last_seq
            with ThreadPoolExecutor(thread_name_prefix="receiver-replay") as threads:
                for start in range(0, len(recovery.records), 64):
                    records = recovery.records[start : start + 64]
                    self._publish(records, max_attempts=PUBLISH_ATTEMPTS, run=threads.map)
        except BaseException:
            self._exit.close()
            raise
        self._commit = GroupCommit(self._wal, self._on_durable, spawn=self._spawn)
        self._digester = self._spawn(self._digest, name="receiver-digest")
        self._lander = self._spawn(self._land, name="receiver-land")
        self._digester.start()
        self._lander.start()

    # --- in

    def submit(self, request: otlp.Request, project: str) -> "Future[int]":
        """Log a request; the future gives its number once it is durable.

        Raises `Overloaded` when there is no room for it. An OSError in the future means it was not kept either.
        """
        size = len(request.body)
        with self._changed:
            if (reason := self.failure or self.store.days.refusal) is not None:
                raise Overloaded(reason)
            self._admission.admit(size)
            try:
                received_ns = self._clock.receive()
                entry = Entry(int(request.signal), project, request.body, received_ns, request.spans)
                future = self._commit.append(entry)
            except BaseException as error:
                self._admission.settle(size)
                if isinstance(error, RuntimeError):
                    raise Overloaded("the receiver is stopping") from None
                raise
        future.add_done_callback(lambda done: self._settle_bytes(size) if done.exception() else None)
        return future

    def _settle_bytes(self, size: int) -> None:
        with self._changed:
            self._admission.settle(size)

    @property
    def refusal(self) -> str | None:
        """Why requests are refused until somebody does something about it; None while they are taken."""
        return self.failure or self.store.days.refusal or self._admission.refusal

    def _spawn(self, target: Callable[[], None], *, name: str) -> VitalThread:
        return VitalThread(target, name=name, on_death=self._fail)

    def _fail(self, reason: str) -> None:
        """Take no more: one of the threads has died. What was taken is in the log for the next start."""
        with self._changed:
            self.failure = self.failure or reason
            self._changed.notify_all()
        self._on_failure()

    def _on_durable(self, records: list[Record]) -> None:
        with self._changed:
            self._queue.extend(records)
            self._durable_seq = records[-1].seq
            self._changed.notify_all()

    # --- decode and publish

    def _digest(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._is_closing)
                if not self._queue:
                    return
                records = self._take()
            if not self._publish(records):
                return
            with self._changed:
                self._published_seq = records[-1].seq
                self._is_stuck = False
                self._changed.notify_all()
                self._admission.settle(sum(record.entry.size_bytes for record in records))

    def _publish(
        self, records: list[Record], *, max_attempts: int | None = None, run: Callable[..., Iterable[Any]] = map
    ) -> bool:
        """Decode requests and show them to queries, again and again while the disk refuses what that takes.

        Returns False when the receiver is closed meanwhile: then they are in the log for the next start. Raises the
        error in the way once `max_attempts` have failed. `run` applies the decoding to each of them, by `map` or on
        several threads: where there are many and nobody else is served yet.
        """
        for attempt in itertools.count(1):
            try:
                new = [record for record in records if record.seq > self.store.reached_seq]
                decoded = list(run(self._decode_or_keep_aside, new))
                self.store.publish([request for request in decoded if request is not None])
            except Exception as error:
                self.counts["failed_landings"] += 1
                log.warning("requests cannot be shown yet; they stay in the log", **describe(error))
                if attempt == max_attempts:
                    raise
                with self._changed:
                    self._is_stuck = True
                    self._changed.notify_all()
                if self._is_closing:
                    return False
                time.sleep(min(1.0, self._land_every_s))
                self.store.days.mend()
            else:
                return True
        raise AssertionError("attempts never run out")

    def _take(self) -> list[Record]:
        records = [self._queue.popleft()]
        size = records[0].entry.size_bytes
        while self._queue and size + self._queue[0].entry.size_bytes <= DIGEST_BYTES:
            records.append(self._queue.popleft())
            size += records[-1].entry.size_bytes
        return records

    def _decode_or_keep_aside(self, record: Record) -> Decoded | None:
        try:
            return decode_record(record)
        except Exception as error:  # noqa: BLE001 - one bad request must not stop those behind it
            log.warning("a logged request cannot be decoded; it is kept aside", seq=record.seq, **describe(error))
            with self._changed:
                self.counts["undecodable_requests"] += 1
            path = self.data / "wal" / "quarantine" / f"{record.seq:020d}.request"
            write_atomically(path, record.entry.body)
            return None

    # --- land

    def _land(self) -> None:
        while True:
            self._wait_for_rows()
            if self._is_closing:
                return
            self._rescue()
            if self.store.has_unlanded and self._land_some():
                self._commit.release(self.store.landed_seq)
            if time.monotonic() >= self._next_upkeep:
                self._next_upkeep = time.monotonic() + UPKEEP_EVERY_S
                self._keep_up()

    def _rescue(self) -> None:
        if self.store.days.refusal is not None:
            try:
                self.store.days.rescue()
            except Exception as error:  # noqa: BLE001 - the next round tries again
                log.warning("a day file was removed while in use and is not back yet", **describe(error))

    def _wait_for_rows(self) -> None:
        """Return when there is enough to land, when it has waited long enough, or when no more seems to come."""
        due = time.monotonic() + self._land_every_s
        with self._changed:
            while not self._must_land() and (left_s := due - time.monotonic()) > 0:
                published_seq = self._published_seq
                self._changed.wait_for(self._must_land, timeout=min(QUIET_S, left_s))
                if published_seq == self._published_seq == self._durable_seq and self.store.has_unlanded:
                    return

    def _must_land(self) -> bool:
        return self._is_closing or self.store.num_hot_rows >= LAND_ROWS or self.store.num_hot_bytes >= LAND_BYTES

    def _keep_up(self) -> None:
        """Give back memory; remove days past their time and seal those that are over, if the clock can be believed."""
        self.store.keep_known()
        with contextlib.suppress(duckdb.Error):  # the next minute will do
            self.store.bound_cache()
        self._on_upkeep()
        if self._idle_seq != self._durable_seq == self._upkept_seq:  # nothing came; once until something does
            self._idle_seq = self._durable_seq
            self._on_idle()
        self._upkept_seq = self._durable_seq
        if jumped_s := self._clock.jumped_s:
            log.warning("the clock jumped; no day is sealed or removed before a restart", jumped_s=round(jumped_s))
            return
        today = self._clock.today()
        try:
            self.store.retire(
                expired(self.data, today=today, retain_days=self._retain_days, retain_bytes=self._retain_bytes)
            )
            self.store.seal(today)
        except Exception as error:  # noqa: BLE001 - landing must go on whatever became of this
            log.warning("upkeep put off", **describe(error))

    def copying(self, staging: Path) -> Copying:
        """Return what lands everything taken and copies every day into a directory, in its own time, beside landing."""
        return Copying(self.store, staging, self._wait_for_decoding)

    def _land_some(self) -> bool:
        """Land what waits, or less of it after each failure; tell whether that worked."""
        try:
            self.store.land(max_bytes=self._land_limit or MOST_LAND_BYTES)
        except Exception as error:  # noqa: BLE001 - whatever it is, the spans are in the log and landing must go on
            self.counts["failed_landings"] += 1
            tried = self._land_limit or min(MOST_LAND_BYTES, self.store.num_hot_bytes)
            self._land_limit = max(LEAST_LAND_BYTES, tried // 2)
            log.warning("landing failed; the spans stay in the log", **describe(error))
            if isinstance(error, duckdb.OutOfMemoryException):
                self.store.snapshots.interrupt()
            time.sleep(min(1.0, self._land_every_s))
            return False
        if self._land_limit is not None:
            self._land_limit = self._land_limit * 2 if self._land_limit < LAND_BYTES else None
        with self._changed:
            self._changed.notify_all()
        return True

    # --- out

    @contextlib.contextmanager
    def snapshot(
        self,
        *,
        wait_s: float = PATIENCE_S,
        project: str | None = None,
        needs: Needs | None = None,
        can_wait: bool = False,
    ) -> Iterator[duckdb.DuckDBPyConnection]:
        """Yield a connection that sees, through the views, every request acknowledged before the call, once.

        With a project it sees that one's rows alone; where it is known what a query needs it may leave out the rest.
        Decoding that lags by more than `wait_s`, or that the disk refuses at the moment, is not waited for.
        """
        traces = needs.traces if needs else None
        with self.picture(wait_s=wait_s, traces=traces) as taken:
            connection = show(taken, project=project, needed=needs.views if needs else None)
            if can_wait:
                self.store.snapshots.let_give_way(connection)
            yield connection

    @contextlib.contextmanager
    def picture(
        self, *, wait_s: float = PATIENCE_S, traces: frozenset[str] | None = None, can_wait: bool = False
    ) -> Iterator[Snapshot]:
        """Yield the same without views, for a query that runs elsewhere. The rest is as `Snapshots.take` says."""
        self._wait_for_decoding(wait_s, gives_up=True)
        with self.store.snapshots.take(traces=traces, can_wait=can_wait) as taken:
            yield taken

    def _wait_for_decoding(self, wait_s: float, *, gives_up: bool = False) -> bool:
        """Wait until what was acknowledged by now can be landed and seen; tell whether it can.

        It may give up while the disk refuses what that takes, which can be for hours.
        """
        with self._changed:
            durable_seq = self._durable_seq
            self._changed.wait_for(
                lambda: self._published_seq >= durable_seq or (gives_up and self._is_stuck), timeout=wait_s
            )
            return self._published_seq >= durable_seq

    @property
    def backlog_bytes(self) -> int:
        """Bytes taken but not yet landed."""
        return self._admission.backlog_bytes

    @property
    def reserve_bytes(self) -> int:
        """Bytes of the disk kept free for landing."""
        return self._admission.reserve_bytes

    @property
    def oldest_unlanded_s(self) -> float:
        """Age of the oldest request taken and not yet landed, seconds; 0 when none waits."""
        with self._changed:
            queued_ns = self._queue[0].entry.received_ns if self._queue else None
        waiting = [received_ns for received_ns in (queued_ns, self.store.oldest_hot_ns) if received_ns is not None]
        return self._clock.since_s(min(waiting)) if waiting else 0.0

    @property
    def free_bytes(self) -> int:
        """Free space of the disk below DATA."""
        return self._admission.free_bytes

    def close(self) -> None:
        """Write, decode and land what was taken, then let go of DATA."""
        if self._is_closing:
            return
        self._commit.close()
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        self._digester.join()
        self._lander.join()
        try:
            failures = 0
            while self.store.has_unlanded and failures < CLOSING_ATTEMPTS:
                failures += not self._land_some()
            self.store.note_landed()  # before the log forgets
            self._wal.close(self.store.landed_seq)
        finally:
            self._exit.close()
