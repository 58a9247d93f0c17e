"""Copies DATA into a directory that is a DATA directory itself, through the receiver where one runs."""

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import duckdb

from foundation.directories import require_directory
from foundation.errors import SettingsError, SpanloopError
from foundation.files import sync_directory
from receiver.database import open_database
from receiver.days.backup import back_up, take_copies
from receiver.days.files import attach, database_name, day_files
from receiver.reading.files import recover
from receiver.reading.find import find_receiver
from receiver.reading.remote import answering, ask
from receiver.store.lock import keep_out_writers
from receiver.tables import spans_directory


def back_up_data(data: Path, out: Path) -> int:
    """Copy the spans and keys of DATA into a new directory; return how many days it holds.

    The directory appears when it is whole. Interrupted, by a signal too, this leaves nothing behind.
    """
    require_directory(data)
    where = find_receiver(data)
    with _appearing(out) as partial:
        if where is None:
            recover(data)
            with keep_out_writers(data):
                _copy_files(data, partial)
        else:
            # The receiver keeps its copies for as long as this connection stands.
            with ask(where, "/v1/backup", b"") as response, answering(where):
                staging = spans_directory(data) / json.loads(response.readline())["staging"]
                take_copies(staging, partial)
        return len(day_files(partial))


def _copy_files(data: Path, partial: Path) -> None:
    staging = partial / "staging"
    days = day_files(data)
    try:
        with contextlib.closing(open_database(data, memory_limit="2GB", writable=staging)) as connection:
            for day, path in days.items():
                attach(connection, path, day, read_only=True)
            back_up(connection, data, {day: database_name(day) for day in days}, staging)
    except duckdb.Error as error:
        raise SpanloopError(f"{data} could not be copied: {str(error).splitlines()[0]}") from error
    take_copies(staging, partial)
    shutil.rmtree(staging)


@contextlib.contextmanager
def _appearing(out: Path) -> Iterator[Path]:
    """Yield a directory beside `out` that takes its place when the block ends well, and is gone otherwise."""
    try:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise SettingsError(f"{out} is not empty", hint="Name a directory that is new: --out DIR")
        partial = out.with_name(f".{out.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True, mode=0o700)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SettingsError(f"{str(out)[:200]} cannot be written: {reason}", hint="Name another: --out DIR") from error
    try:
        yield partial
        sync_directory(partial)
        if out.exists():
            out.rmdir()
        partial.replace(out)
        sync_directory(out.parent)
    except OSError as error:
        raise SpanloopError(f"{out} could not be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
