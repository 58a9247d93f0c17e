"""A process that runs queries, one at a time, for a receiver that may end it at any moment.

    python -m receiver.query.worker DATA MEMORY_LIMIT

It opens sealed days by itself, and is sent the rows only the receiver can read. It keeps no file it writes and no state
from one query to the next but open sealed days. What it does: read a job, read its rows, answer, again.
"""

import contextlib
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

import duckdb
import orjson
import pyarrow as pa

from foundation.errors import SpanloopError
from receiver.database import open_database
from receiver.query import frames
from receiver.query import run as query
from receiver.query.views import create_views
from receiver.tables import literal


class Worker:
    """The open database of a query process."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, data: Path) -> None:
        self._connection = connection
        self._data = data
        self._attached: dict[str, tuple[str, int]] = {}

    def answer(self, source: BinaryIO, sink: BinaryIO) -> bool:
        """Run the next job; tell whether there was one."""
        try:
            _, head = frames.receive(source)
        except frames.Broken:
            return False
        job = orjson.loads(head)
        readers = {table: frames.FrameReader(source) for table in job["tables"]}
        try:
            with self._days_closed_after(job), contextlib.closing(self._connection.cursor()) as cursor:
                self._attach(job["sealed"])
                tail = {table: self._rows(cursor, table, reader, job) for table, reader in readers.items()}
                create_views(
                    cursor,
                    self._data,
                    list(job["sealed"]),
                    tail,
                    project=job["project"],
                    needed=frozenset(job["views"]),
                    columns=job["columns"],
                )
                self._run(cursor, job, sink)
            for reader in readers.values():  # a LIMIT may have left some
                reader.drain()
        except frames.Broken:
            return False
        except BaseException as error:  # noqa: BLE001 - told to whoever asked
            with contextlib.suppress(frames.Broken):
                for reader in readers.values():
                    reader.drain()
            frames.send_json(sink, frames.ERROR, _told(error))
        sink.flush()
        return True

    @contextlib.contextmanager
    def _days_closed_after(self, job: Mapping[str, Any]) -> Iterator[None]:
        try:
            yield
        finally:
            if not job["keeps_days_open"]:
                self._attach({})

    def _rows(
        self, cursor: duckdb.DuckDBPyConnection, table: str, reader: frames.FrameReader, job: Mapping[str, Any]
    ) -> pa.RecordBatchReader | duckdb.DuckDBPyRelation:
        """Return the rows that were sent: as they come when they are read once, else from where they can spill."""
        rows = pa.ipc.open_stream(cast("Any", reader))
        if job["reads_once"]:
            return rows
        cursor.register("sent", rows)
        cursor.execute(f"create temp table sent_{table} as from sent")
        cursor.unregister("sent")
        reader.drain()
        return cursor.sql(f"from sent_{table}")

    def _attach(self, sealed: Mapping[str, str]) -> None:
        for name, path in sealed.items():
            seen = (path, Path(path).stat().st_ino)
            if self._attached.get(name) == seen:
                continue
            if name in self._attached:
                self._connection.execute(f"detach {name}")
                del self._attached[name]
            self._connection.execute(f"attach {literal(path)} as {name} (read_only)")
            self._attached[name] = seen
        for name in [name for name in self._attached if name not in sealed]:
            self._connection.execute(f"detach {name}")
            del self._attached[name]

    def _run(self, cursor: duckdb.DuckDBPyConnection, job: Mapping[str, Any], sink: BinaryIO) -> None:
        if job["bounds"] is None:
            reader = query.stream(cursor, job["sql"], job["parameters"])
            with contextlib.ExitStack() as stack:
                file = stack.enter_context(pa.PythonFile(frames.FrameWriter(sink), mode="w"))
                writer = stack.enter_context(pa.ipc.new_stream(file, reader.schema))
                for batch in reader:
                    writer.write_batch(batch)
                    sink.flush()
        else:
            found = query.collect(cursor, job["sql"], job["parameters"], query.Bounds(**job["bounds"]))
            frames.send(sink, frames.DATA, query.encode(found, job["form"]))
        frames.send(sink, frames.END)


def _told(error: BaseException) -> dict[str, Any]:
    if isinstance(error, SpanloopError):
        kind = "expensive" if isinstance(error, query.QueryTooExpensive) else "refused"
        return {"kind": kind, "error": error.message, "hint": error.hint}
    if isinstance(error, MemoryError | duckdb.OutOfMemoryException):
        return {"kind": "expensive", "error": "the query needs more memory than it may have", "hint": None}
    if isinstance(error, FileNotFoundError):
        return {"kind": "again", "error": "a day was removed meanwhile", "hint": None}
    text = str(error).splitlines() or [type(error).__name__]
    return {"kind": "refused", "error": text[0], "hint": None}


def _end_with_parent(lifeline: int) -> None:
    os.read(lifeline, 1)
    os._exit(1)


def _be_first_to_go() -> None:
    """Ask the kernel to end this process before the receiver when memory runs out."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def main() -> None:
    """Answer jobs on stdin until there are no more."""
    data, memory_limit, lifeline = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    threading.Thread(target=_end_with_parent, args=(lifeline,), daemon=True).start()
    _be_first_to_go()
    worker = Worker(open_database(data, memory_limit=memory_limit), data)
    source, sink = sys.stdin.buffer, os.fdopen(os.dup(1), "wb", buffering=1 << 16)
    os.dup2(2, 1)  # nothing a library prints may stand between frames
    frames.send(sink, frames.END)  # ready
    sink.flush()
    while worker.answer(source, sink):
        pass


if __name__ == "__main__":
    main()
