"""Whose turn it is to query, and where a query runs: in a process of its own, or here, if it ends when told to."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import duckdb
import pyarrow as pa

from receiver.decode.refusals import Overloaded
from receiver.pipeline import Pipeline
from receiver.query import guard
from receiver.query import run as query
from receiver.query.processes import DayGone, Job, QueryProcesses
from receiver.query.reads import Needs
from receiver.settings import ReceiverConfig

LIST_ROWS = 1000
"""Most rows of a list of traces that is read here."""

PATIENCE_S = 5.0
"""How long a query waits for its turn before its sender is asked to come again."""


class Queries:
    """The queries of one receiver."""

    def __init__(self, pipeline: Pipeline, config: ReceiverConfig) -> None:
        self._pipeline = pipeline
        self._bounds = query.Bounds(config.sql_timeout_s, config.sql_max_rows, config.sql_max_result_bytes)
        self._parser = duckdb.connect(":memory:")
        self._processes = QueryProcesses(
            config.data, memory_limit=config.memory_limit, memory_bytes=config.memory_limit_bytes
        )
        self._threads = ThreadPoolExecutor(config.sql_max_concurrent, thread_name_prefix="receiver-sql")
        self._turns = asyncio.Semaphore(config.sql_max_concurrent)
        # What may not heed its bounds until it is killed gets half of the turns: it cannot take them from the rest.
        self._uncalm_turns = asyncio.Semaphore(max(1, config.sql_max_concurrent // 2))

    async def answer(self, sql: str, parameters: list[Any], form: query.Format, project: str | None) -> bytes:
        """Run a query within its bounds, once fewer than allowed run, and return its encoded result.

        Raises `Overloaded` when its turn does not come, `SpanloopError` when it fails. A turn ends with its query, even
        when its client has gone.
        """
        needs = self._needs(sql, parameters)
        turns = [self._turns] if needs.is_calm else [self._uncalm_turns, self._turns]
        taken: list[asyncio.Semaphore] = []
        try:
            async with asyncio.timeout(PATIENCE_S):
                for turn in turns:
                    await turn.acquire()
                    taken.append(turn)
        except TimeoutError:
            _release(taken)
            raise Overloaded("too many queries run at once") from None
        job = Job(sql, parameters, needs, project, form, self._bounds)
        running = asyncio.get_running_loop().run_in_executor(self._threads, self._collect, job)
        running.add_done_callback(lambda done: _end(done, taken))
        return await asyncio.shield(running)

    def _needs(self, sql: str, parameters: list[Any]) -> Needs:
        with contextlib.closing(self._parser.cursor()) as parser:
            guard.check(parser, sql)
            return guard.needs(parser, sql, parameters)

    def _collect(self, job: Job) -> bytes:
        for _ in range(2):
            with contextlib.suppress(DayGone):
                return self._collect_once(job)
        return self._collect_once(job)

    def _collect_once(self, job: Job) -> bytes:
        if is_list(job.needs):
            with self._pipeline.snapshot(project=job.project, needs=job.needs, can_wait=True) as connection:
                found = query.collect(connection, job.sql, job.parameters, self._bounds)
            return query.encode(found, job.form)
        with self._pipeline.picture(traces=job.needs.traces, can_wait=True) as taken:
            return self._processes.collect(taken, job)

    def stream(self, sql: str, parameters: list[Any], *, is_wanted: Callable[[], bool]) -> Iterator[bytes]:
        """Run a query of this machine's own without bounds and yield its rows as pieces of an Arrow stream.

        Where it heeds an interrupt it runs here, where the rows are; else in a process, for as long as it is wanted.
        """
        needs = self._needs(sql, parameters)
        if needs.is_calm:
            yield from self._stream_here(sql, parameters, needs)
            return
        job = Job(sql, parameters, needs, None, "arrow", None)
        with self._pipeline.picture(traces=needs.traces) as taken:
            yield from self._processes.stream(taken, job, is_wanted=is_wanted)

    def _stream_here(self, sql: str, parameters: list[Any], needs: Needs) -> Iterator[bytes]:
        with self._pipeline.snapshot(needs=needs) as connection:
            reader = query.stream(connection, sql, parameters)
            sink = _Pieces()
            with pa.PythonFile(sink, mode="w") as file, pa.ipc.new_stream(file, reader.schema) as writer:
                yield sink.take()
                for batch in reader:
                    writer.write_batch(batch)
                    yield sink.take()
            yield sink.take()

    def close(self) -> None:
        """End every query, wherever it runs."""
        self._processes.close()
        self._pipeline.store.snapshots.interrupt(every=True)
        self._threads.shutdown(wait=False)


def is_list(needs: Needs) -> bool:
    """Tell whether a query reads a few rows of the sums of traces, which is run here: it ends soon, and when told to.

    Handing the sums of a whole day to another process would take longer than the query.
    """
    return (
        needs.views == {"trace_parts"}
        and needs.reads_once
        and needs.is_calm
        and needs.most_rows is not None
        and needs.most_rows <= LIST_ROWS
    )


def _end(done: "asyncio.Future[bytes]", turns: list[asyncio.Semaphore]) -> None:
    if not done.cancelled():
        done.exception()  # told to whoever waits; where nobody does any more it is no news
    _release(turns)


def _release(turns: list[asyncio.Semaphore]) -> None:
    for turn in turns:
        turn.release()


class _Pieces:
    """A write-only file whose content is taken away piece by piece."""

    closed = False

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, chunk: bytes) -> int:
        self._pieces.append(bytes(chunk))
        return len(chunk)

    def take(self) -> bytes:
        taken, self._pieces = b"".join(self._pieces), []
        return taken

    def flush(self) -> None:
        """Hold nothing back."""

    def close(self) -> None:
        """Take no more."""
        self.closed = True
