"""Group commit: many callers append at once, one thread writes them together and pays for one fdatasync.

What a caller waits for is done once its record is on disk: that is the acknowledgement.
"""

import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Protocol

from receiver.log.records import Entry, Record
from receiver.log.wal import WriteAheadLog

MAX_GROUP_BYTES = 64 << 20


class Spawn(Protocol):
    """Makes the thread that writes the log, which its maker watches over."""

    def __call__(self, target: Callable[[], None], *, name: str) -> threading.Thread:
        """Return a thread that has not started."""
        ...


def _spawn(target: Callable[[], None], *, name: str) -> threading.Thread:
    return threading.Thread(target=target, name=name)


class GroupCommit:
    """Owns the thread that writes the log.

    `on_durable` is called from that thread with every written group, in the order of receipt, before any of its callers
    learns of it. Should the thread die, whoever waits is told, and nothing more is taken.
    """

    def __init__(
        self, wal: WriteAheadLog, on_durable: Callable[[list[Record]], None], *, spawn: Spawn = _spawn
    ) -> None:
        self._wal = wal
        self._on_durable = on_durable
        self._waiting: list[tuple[Entry, Future[int]]] = []
        self._landed_seq = 0
        self._arrived = threading.Condition()
        self._is_closed = False
        self._thread = spawn(self._run, name="receiver-wal")
        self._thread.start()

    def append(self, entry: Entry) -> "Future[int]":
        """Queue an entry; the future gives its sequence number once it is durable, or the error in the way."""
        future: Future[int] = Future()
        with self._arrived:
            if self._is_closed:
                raise RuntimeError("the log is closed")
            self._waiting.append((entry, future))
            self._arrived.notify()
        return future

    def release(self, landed_seq: int) -> None:
        """Let the log reuse the segments of records that have landed."""
        with self._arrived:
            self._landed_seq = landed_seq
            self._arrived.notify()

    def close(self) -> None:
        """Write what is waiting and end the thread."""
        with self._arrived:
            self._is_closed = True
            self._arrived.notify()
        self._thread.join()

    def _run(self) -> None:
        try:
            self._work()
        except BaseException as error:
            with self._arrived:
                self._is_closed = True
                left, self._waiting = self._waiting, []
            for _, future in left:
                _fail(future, error)
            raise

    def _work(self) -> None:
        released = 0
        while True:
            with self._arrived:
                self._arrived.wait_for(lambda: self._waiting or self._is_closed or self._landed_seq > released)  # noqa: B023
                group = self._take()
                landed_seq = self._landed_seq
                if self._is_closed and not group:
                    return
            if landed_seq > released:
                with contextlib.suppress(OSError):  # a file that cannot be removed now is removed at the next start
                    self._wal.release(landed_seq)
                released = landed_seq
            if group:
                self._write(group)

    def _take(self) -> "list[tuple[Entry, Future[int]]]":
        size_bytes, count = 0, 0
        for entry, _ in self._waiting:
            size_bytes += entry.size_bytes
            count += 1
            if size_bytes >= MAX_GROUP_BYTES:
                break
        group, self._waiting = self._waiting[:count], self._waiting[count:]
        return group

    def _write(self, group: "list[tuple[Entry, Future[int]]]") -> None:
        try:
            records = self._wal.write([entry for entry, _ in group])
        except Exception as error:  # noqa: BLE001 - the group is not kept, its senders are told, the next may be
            for _, future in group:
                _fail(future, error)
            return
        try:
            self._on_durable(records)
        except BaseException as error:
            for _, future in group:
                _fail(future, error)
            raise
        for record, (_, future) in zip(records, group, strict=True):
            future.set_result(record.seq)


def _fail(future: "Future[int]", error: BaseException) -> None:
    reason = error if isinstance(error, OSError) else OSError(0, f"the log failed: {type(error).__name__}")
    future.set_exception(reason)
