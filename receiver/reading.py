"""Opens DATA for reading: through the receiver that holds it, or from the files when none runs."""

import contextlib
import fcntl
import json
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any, cast

import duckdb
import pyarrow as pa

from foundation.errors import Busy, SettingsError, SpanloopError
from receiver.log.disk import OsDisk
from receiver.log.wal import scan
from receiver.pipeline import Pipeline
from receiver.query import run as query
from receiver.query.views import create_views
from receiver.store.days import OutOfDate, attach, database_name, day_files, landed_seq, open_database
from receiver.store.lock import announcement_path, lock_path
from receiver.store.upkeep import finish_backup
from receiver.tables import TABLES, Reader, spans_directory

PATIENCE_S = 15.0
"""How long to wait for a receiver that is starting, or for another reader that is recovering a log."""


def find_receiver(data: Path) -> dict[str, Any] | None:
    """Return what the receiver that holds DATA says of itself, or None when none does.

    Whether one runs is told by the kernel's lock on DATA, not by the file: that one outlives a crash. Raises `Busy`
    when somebody holds DATA without answering, as a receiver that is still replaying its log.
    """
    deadline = time.monotonic() + PATIENCE_S
    while _is_held(lock_path(data)):
        with contextlib.suppress(OSError, ValueError):
            where: dict[str, Any] = json.loads(announcement_path(data).read_bytes())
            if _is_alive(where["pid"]):
                return where
        if time.monotonic() > deadline:
            raise Busy(f"{data} is held by a process that does not answer yet", hint="Try again in a moment.")
        time.sleep(0.05)
    return None


def _is_held(path: Path) -> bool:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def open_reader(data: Path) -> Reader:
    """Open DATA for reading. An empty or missing directory reads as empty tables."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        where = find_receiver(data)
        if where is not None:
            return ReceiverReader(where)
        try:
            recover(data)
            return FileReader(data)
        except Busy:  # a receiver or another reader was quicker
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def recover(data: Path) -> None:
    """Land what a receiver that did not end in order had acknowledged and not yet landed."""
    if _is_clean(data):
        return
    Pipeline(data, purpose="recovery before reading").close()


def _is_clean(data: Path) -> bool:
    days = day_files(data)
    if any(path.with_suffix(".duckdb.wal").exists() for path in days.values()):
        return False
    with contextlib.closing(open_database(data, memory_limit="1GB")) as connection:
        try:
            for day, path in days.items():
                attach(connection, path, day, read_only=True)
        except OutOfDate:
            return False
        recovery, _ = scan(data / "wal", OsDisk(), landed_seq(connection, list(days)))
    return not recovery.records


class FileReader:
    """Reads the day files directly; any number of processes may, while no receiver runs."""

    def __init__(self, data: Path) -> None:
        self._connection = open_database(data, memory_limit="4GB")
        try:
            days: list[date] = []
            for day, path in day_files(data).items():
                attach(self._connection, path, day, read_only=True)
                days.append(day)
            # The days sit behind views already: touching each one holds its state of now.
            for day in days:
                self._connection.execute(f"select seq from {database_name(day)}.landed").fetchall()
            create_views(self._connection, data, days, {table: [] for table in TABLES})
        except BaseException:
            self._connection.close()
            raise

    def query(self, sql: str, parameters: list[Any] | None = None) -> pa.Table:
        """Run one SELECT and return its rows."""
        return _read_all(self.stream(sql, parameters))

    def stream(self, sql: str, parameters: list[Any] | None = None) -> pa.RecordBatchReader:
        """Run one SELECT and return its rows as they come."""
        return query.stream(self._connection, sql, parameters)

    def close(self) -> None:
        """Let go of the files."""
        self._connection.close()


class ReceiverReader:
    """Reads through the running receiver, with the token that only its user can read."""

    def __init__(self, where: dict[str, Any]) -> None:
        self._url = where["http"]
        self._token = where["token"]

    def query(self, sql: str, parameters: list[Any] | None = None) -> pa.Table:
        """Run one SELECT and return its rows."""
        return _read_all(self.stream(sql, parameters))

    def stream(self, sql: str, parameters: list[Any] | None = None) -> pa.RecordBatchReader:
        """Run one SELECT and return its rows as they come."""
        body = json.dumps({"sql": sql, "parameters": parameters or []}, default=str).encode()
        request = urllib.request.Request(  # noqa: S310 - the receiver's own address
            f"{self._url}/v1/sql",
            data=body,
            headers={"Content-Type": "application/json", "Authorization": f"Bearer {self._token}"},
        )
        try:
            # Plain blocking HTTP: Arrow reads its stream from a file, which an http.client response is.
            response = urllib.request.urlopen(request)  # noqa: S310
        except urllib.error.HTTPError as error:
            raise _refusal(error) from None
        except OSError as error:
            raise Busy(f"the receiver at {self._url} stopped answering: {error}", hint="Try again.") from error
        return pa.ipc.open_stream(cast("Any", response))

    def close(self) -> None:
        """There is no connection to let go of: each query has its own."""


def _read_all(reader: pa.RecordBatchReader) -> pa.Table:
    try:
        return reader.read_all()
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        raise SpanloopError(f"the query failed while its rows were read: {error}") from error


def _refusal(error: urllib.error.HTTPError) -> SpanloopError:
    with contextlib.suppress(ValueError, KeyError, TypeError):
        answer = json.loads(error.read())
        return SettingsError(answer["error"], hint=answer.get("hint"))
    return SpanloopError(f"the receiver answered {error.code} {error.reason}")


@contextlib.contextmanager
def reading(data: Path) -> Iterator[Reader]:
    """Open DATA for reading while the block runs."""
    reader = open_reader(data)
    try:
        yield reader
    finally:
        reader.close()


def back_up_data(data: Path, out: Path) -> int:
    """Copy DATA into a new directory, through the receiver where one runs; return how many days it holds."""
    where = find_receiver(data)
    if where is None:
        with contextlib.closing(Pipeline(data, purpose="spanloop receiver backup")) as pipeline:
            staging = spans_directory(data) / "backup-direct"
            shutil.rmtree(staging, ignore_errors=True)
            staging.parent.mkdir(parents=True, exist_ok=True)
            pipeline.back_up(staging)
    else:
        request = urllib.request.Request(  # noqa: S310 - the receiver's own address
            f"{where['http']}/v1/backup", data=b"", headers={"Authorization": f"Bearer {where['token']}"}
        )
        try:
            with urllib.request.urlopen(request) as response:  # noqa: S310
                staging = spans_directory(data) / json.load(response)["staging"]
        except urllib.error.HTTPError as error:
            raise _refusal(error) from None
    try:
        return finish_backup(staging, out)
    finally:
        shutil.rmtree(staging)
