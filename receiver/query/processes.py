"""Queries in processes of their own, each ended when it goes over its bounds, whatever it is doing.

A process is started when a query needs one, serves one query at a time, and goes when it has been idle for a while. It
is killed, and nobody else notices, when its query outlives its time, holds more memory than it may, or is wanted no
more.
"""

import contextlib
import io
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import duckdb
import orjson
import pyarrow as pa

from foundation.errors import SettingsError, SpanloopError
from receiver.database import temp_path
from receiver.query import frames
from receiver.query import run as query
from receiver.query.reads import Needs
from receiver.query.views import create_views
from receiver.snapshot import Snapshot
from receiver.tables import ROWS

START_PATIENCE_S = 60.0
IDLE_S = 60.0
"""How long a process waits for its next query before it goes."""

LOOK_EVERY_S = 0.05
"""How often a running query is looked at."""

GRACE_S = 1.0
"""How long a query that is over its time may take to end by itself."""

SPARE_BYTES = 512 << 20
"""What a query's process may hold beside what DuckDB accounts for: libraries, a result being written."""

QUICK_S = 0.5
"""How long a query runs before the others, ingest included: a lookup is done by then."""

QUICK_PRIORITY = -5

PAGE_BYTES = os.sysconf("SC_PAGESIZE")


class DayGone(Exception):
    """A day was removed between the snapshot and the query; the next snapshot knows."""


@dataclass(frozen=True)
class Job:
    """One query: what was asked, and for whom."""

    sql: str
    parameters: list[Any]
    needs: Needs
    project: str | None
    form: query.Format
    bounds: query.Bounds | None
    """None for this machine's own readers: rows come as a stream of Arrow, and end when the reader leaves."""
    keeps_days_open: bool = True
    """The process leaves sealed days open for the next query; where no receiver runs, one could not start meanwhile."""

    @property
    def tables(self) -> list[str]:
        """The receiver's tables whose rows it reads."""
        views = self.needs.views | ({"trace_parts"} if "traces" in self.needs.views else set())
        return [table for table in ROWS if table in views]

    def columns(self, table: str) -> list[str]:
        """Return the columns it reads of one of them."""
        every = tuple(column.name for column in ROWS[table])
        wanted = {*self.needs.columns.get(table, every), *(["project"] if self.project is not None else [])}
        return [name for name in every if name in wanted]


class QueryProcesses:
    """The processes that run queries over one DATA directory."""

    def __init__(self, data: Path, *, memory_limit: str, memory_bytes: int) -> None:
        self._data = data
        self._memory_limit = memory_limit
        self._memory_bytes = memory_bytes + SPARE_BYTES
        self._lock = threading.Lock()
        self._idle: list[_Process] = []
        self._reaper: threading.Thread | None = None
        self._all: set[_Process] = set()
        self._is_closed = False

    def collect(self, snapshot: Snapshot, job: Job) -> bytes:
        """Run a query to its end and return its result, encoded."""
        return b"".join(self.stream(snapshot, job))

    def stream(self, snapshot: Snapshot, job: Job, *, is_wanted: Callable[[], bool] = lambda: True) -> Iterator[bytes]:
        """Run a query and yield its encoded result as it comes.

        Raises `SettingsError` for what may not run, `QueryTooExpensive` for what goes over its bounds, `DayGone`.
        """
        process = self._take()
        is_whole = False
        try:
            yield from process.run(snapshot, job, is_wanted=is_wanted, memory_bytes=self._memory_bytes)
            is_whole = True
        except _Answered as answered:
            is_whole = True
            raise answered.error from None
        finally:
            if is_whole and not self._is_closed:
                self._give_back(process)
            else:
                self._end(process)

    def _take(self) -> "_Process":
        with self._lock:
            if self._is_closed:
                raise query.QueryTooExpensive("the query was ended: the receiver is stopping")
            if self._idle:
                return self._idle.pop()
            process = _Process(self._data, self._memory_limit)
            self._all.add(process)
        try:
            process.wait_until_ready()
        except BaseException:
            self._end(process)
            raise
        return process

    def _give_back(self, process: "_Process") -> None:
        with self._lock:
            process.idle_since = time.monotonic()
            self._idle.append(process)
            if self._reaper is None:  # one, however many queries there are
                self._reaper = threading.Thread(target=self._end_idle, name="receiver-reaper", daemon=True)
                self._reaper.start()

    def _end_idle(self) -> None:
        """End each process once it has been idle for long enough, until there is none that is idle."""
        wait_s = IDLE_S
        while wait_s:
            time.sleep(wait_s)
            with self._lock:
                due = time.monotonic() - IDLE_S
                over = [process for process in self._idle if process.idle_since <= due]
                self._idle = [process for process in self._idle if process not in over]
                wait_s = min((process.idle_since - due for process in self._idle), default=0.0)
                if not wait_s:
                    self._reaper = None
            for process in over:
                self._end(process)

    def _end(self, process: "_Process") -> None:
        process.end()
        with self._lock:
            self._all.discard(process)

    def close(self) -> None:
        """End all of them, whatever they do."""
        with self._lock:
            self._is_closed = True
            processes = list(self._all)
        for process in processes:
            process.kill()


class _Answered(Exception):
    """The process said why the query failed, and is ready for the next."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


class _Process:
    def __init__(self, data: Path, memory_limit: str) -> None:
        lifeline, self._lifeline = os.pipe()  # the other end sees it close however we end
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "receiver.query.worker", str(data), memory_limit, str(lifeline)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                pass_fds=[lifeline],
                start_new_session=True,  # a Ctrl-C is for the receiver, which then ends its queries
            )
        finally:
            os.close(lifeline)
        self._temp = temp_path(data, self._process.pid)
        self.idle_since = 0.0
        self._priority = 0
        self._why = ""
        self._check: Callable[[], None] = lambda: None
        output = cast("BinaryIO", self._process.stdout)
        self._output = cast(
            "BinaryIO", io.BufferedReader(_WatchedPipe(output.fileno(), lambda: self._check()), 1 << 16)
        )

    def wait_until_ready(self) -> None:
        """Return once it takes a query."""
        deadline = time.monotonic() + START_PATIENCE_S

        def check() -> None:
            if time.monotonic() > deadline:
                self.kill()

        self._check = check
        try:
            frames.receive(self._output)
        except frames.Broken:
            raise SpanloopError("a process for queries could not be started") from None

    def run(self, snapshot: Snapshot, job: Job, *, is_wanted: Callable[[], bool], memory_bytes: int) -> Iterator[bytes]:
        began = time.monotonic()
        deadline = began + (job.bounds.timeout_s + GRACE_S if job.bounds else float("inf"))
        self._why = "its process ended"
        self._set_priority(QUICK_PRIORITY)

        def check() -> None:
            if time.monotonic() > deadline:
                assert job.bounds is not None
                self.kill(query.too_long(job.bounds.timeout_s))
            elif self._resident_bytes() > memory_bytes:
                self.kill("the query needs more memory than it may have")
            elif not is_wanted():
                self.kill("nobody waits for it")
            elif self._priority and time.monotonic() > began + QUICK_S:
                self._set_priority(0)

        self._check = check
        feeder = _Feeder(cast("BinaryIO", self._process.stdin), snapshot, job)
        feeder.start()
        try:
            while True:
                kind, content = frames.receive(self._output)
                if kind != frames.DATA:
                    break
                yield content
        except frames.Broken:
            self.kill()
            feeder.stop()
            raise query.QueryTooExpensive(feeder.problem or self._why, hint=query.NARROW) from None
        except GeneratorExit:
            self.kill()
            raise
        finally:
            feeder.stop()
            self._check = lambda: None  # it holds the rows of this query
        if feeder.problem:
            raise query.QueryTooExpensive(feeder.problem, hint=query.NARROW)
        if kind == frames.ERROR:
            raise _Answered(_error_of(orjson.loads(content)))

    def _set_priority(self, priority: int) -> None:
        """Let all threads of the process run before others, or as others; not every receiver may (`LimitNICE`)."""
        if priority == self._priority:
            return
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PGRP, self._process.pid, priority)
            self._priority = priority

    def _resident_bytes(self) -> int:
        try:
            return int(Path(f"/proc/{self._process.pid}/statm").read_bytes().split()[1]) * PAGE_BYTES
        except (OSError, IndexError):  # it ends just now, or this is not Linux
            return 0

    def kill(self, why: str = "") -> None:
        """End it now; the query it runs fails with the reason."""
        if why:
            self._why = why
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGKILL)

    def end(self) -> None:
        """End it and leave nothing of it."""
        self.kill()
        self._process.wait()
        with contextlib.suppress(OSError):
            cast("BinaryIO", self._process.stdin).close()
        cast("BinaryIO", self._process.stdout).close()
        os.close(self._lifeline)
        shutil.rmtree(self._temp, ignore_errors=True)


def _error_of(told: dict[str, Any]) -> Exception:
    if told["kind"] == "again":
        return DayGone(told["error"])
    kind = query.QueryTooExpensive if told["kind"] == "expensive" else SettingsError
    return kind(told["error"], hint=told["hint"])


class _WatchedPipe(io.RawIOBase):
    """The reading end of a pipe that has something looked at while nothing comes."""

    def __init__(self, fd: int, check: Callable[[], None]) -> None:
        self._fd = fd
        self._check = check
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - any writable buffer
        while not self._poll.poll(LOOK_EVERY_S * 1000):
            self._check()
        return os.readv(self._fd, [buffer])


class _Feeder(threading.Thread):
    """Sends a job and the rows it reads that only this process can, until they end or no more are wanted."""

    def __init__(self, pipe: BinaryIO, snapshot: Snapshot, job: Job) -> None:
        super().__init__(name="receiver-feed", daemon=True)
        self._pipe = pipe
        self._snapshot = snapshot
        self._job = job
        self._is_stopped = False
        self.problem = ""

    def run(self) -> None:
        job = self._job
        try:
            frames.send_json(
                self._pipe,
                frames.DATA,
                {
                    "sql": job.sql,
                    "parameters": job.parameters,
                    "project": job.project,
                    "form": job.form,
                    "bounds": asdict(job.bounds) if job.bounds else None,
                    "views": sorted(job.needs.views),
                    "tables": job.tables,
                    "columns": {table: job.columns(table) for table in job.tables},
                    "reads_once": job.needs.reads_once,
                    "keeps_days_open": job.keeps_days_open,
                    "sealed": {name: str(path.absolute()) for name, path in self._snapshot.sealed.items()},
                },
            )
            for table in job.tables:
                self._send_rows(table)
            self._pipe.flush()
        except duckdb.InterruptException:
            self.problem = query.GAVE_WAY
            self._abandon()
        except (BrokenPipeError, ValueError, pa.ArrowException, OSError) as error:
            if not self._is_stopped and not isinstance(error, BrokenPipeError):
                self.problem = str(error).splitlines()[0]
            self._abandon()
        except duckdb.Error as error:
            self.problem = str(error).splitlines()[0]
            self._abandon()

    def _abandon(self) -> None:
        """Close the pipe: the process then ends, and with it the query."""
        with contextlib.suppress(OSError, ValueError):
            self._pipe.close()

    def _send_rows(self, table: str) -> None:
        job, snapshot = self._job, self._snapshot
        traces = job.needs.traces
        create_views(
            snapshot.connection,
            snapshot.data,
            snapshot.live,
            snapshot.tail,
            project=job.project,
            needed=frozenset({table}),
        )
        conditions = list(job.needs.conditions)
        if traces is not None:
            conditions.append("list_contains(?, trace_id)" if len(traces) > 1 else "trace_id = ?")
        where = f" where {' and '.join(conditions)}" if conditions else ""
        values = [] if traces is None else [sorted(traces)] if len(traces) > 1 else [*traces]
        sql = f"select {', '.join(job.columns(table))} from {table}{where}"
        with contextlib.closing(pa.PythonFile(frames.FrameWriter(self._pipe), mode="w")) as file:
            rows = snapshot.connection.sql(sql, params=values or None).to_arrow_reader(query.BATCH_ROWS)
            with pa.ipc.new_stream(file, rows.schema) as writer:
                for batch in rows:
                    if self._is_stopped:
                        break
                    writer.write_batch(batch)
        frames.send(self._pipe, frames.END)

    def stop(self) -> None:
        """Send no more, and return once nothing more is read."""
        self._is_stopped = True
        self.join()
