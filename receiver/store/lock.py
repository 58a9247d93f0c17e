"""The lock on a DATA directory: one process at a time writes its log and day files."""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from foundation.directories import check_directory, unusable
from foundation.errors import Busy
from foundation.files import exclusive

PATIENCE_S = 1.0
"""How long to wait for a reader, who looks at the lock for an instant to see whether a receiver runs."""


@contextlib.contextmanager
def hold(data: Path, purpose: str, *, wait_s: float = PATIENCE_S) -> Iterator[None]:
    """Hold DATA's day files and log while the block runs, making the directory; raise `Busy` naming the holder."""
    check_directory(data)
    with contextlib.ExitStack() as stack:
        deadline = time.monotonic() + wait_s
        while True:
            try:
                data.mkdir(parents=True, exist_ok=True)
                stack.enter_context(exclusive(lock_path(data), purpose=purpose))
                break
            except Busy:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            except OSError as error:
                raise unusable(data, error) from error
        yield


@contextlib.contextmanager
def keep_out_writers(data: Path, *, wait_s: float = PATIENCE_S) -> Iterator[None]:
    """See to it that nobody writes DATA while the block runs, without writing there; raise `Busy` naming who does."""
    fd = _open_lock(data)
    try:
        deadline = time.monotonic() + wait_s
        while fd is not None and not _share(fd):
            if time.monotonic() > deadline:
                holder = holder_of(data)
                who = f"{holder['purpose']} (pid {holder['pid']})" if holder else "another process"
                raise Busy(f"{lock_path(data)} is held by {who}", hint="Wait until it ends, or stop it.")
            time.sleep(0.05)
        yield
    finally:
        if fd is not None:
            os.close(fd)


def is_held(data: Path) -> bool:
    """Tell whether some process writes DATA."""
    fd = _open_lock(data)
    if fd is None:
        return False
    try:
        return not _share(fd)
    finally:
        os.close(fd)


def _open_lock(data: Path) -> int | None:
    try:
        return os.open(lock_path(data), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unusable(data, error) from error


def _share(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def holder_of(data: Path) -> dict[str, Any]:
    """Return what whoever holds the lock says of itself: pid and purpose; nothing when that cannot be told."""
    try:
        holder = json.loads(lock_path(data).read_bytes())
        return holder if {"pid", "purpose"} <= set(holder) else {}
    except (OSError, ValueError, TypeError):
        return {}


def lock_path(data: Path) -> Path:
    """Return the lock file of a DATA directory."""
    return data / "receiver.lock"


def announcement_path(data: Path) -> Path:
    """Return the file in which a running receiver says where it is."""
    return data / "receiver.json"
