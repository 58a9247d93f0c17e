"""Files that appear whole or not at all, and a lock that says who holds it."""

import contextlib
import fcntl
import json
import os
import socket
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from foundation.errors import Busy


def sync_directory(path: Path) -> None:
    """Make the names inside a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file by its new content: after a crash it is the old one or the new one, never half of either."""
    with replacing(path, content):
        pass


@contextlib.contextmanager
def replacing(path: Path, content: bytes) -> Iterator[None]:
    """Write a file's new content beside it, run the block, then put it in the file's place.

    What the block writes is there before the change shows. Where the block, or the disk, fails, the file is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    fd, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def write_json(path: Path, value: Any) -> None:  # noqa: ANN401 - whatever json can write
    """Write a value as readable JSON, atomically; keys keep their order."""
    write_atomically(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


@contextlib.contextmanager
def exclusive(path: Path, *, purpose: str) -> Iterator[None]:
    """Hold a lock file while the block runs; raise `Busy` naming the holder when another process has it.

    The lock is the kernel's (flock), so it is gone with its holder however that ended; the text in the file only says
    who it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(
                f"{path} is held by {_describe_holder(path)}",
                hint="Wait until it ends, or stop it; the lock goes with the process.",
            ) from None
        holder = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "purpose": purpose,
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        os.ftruncate(fd, 0)
        os.pwrite(fd, json.dumps(holder).encode(), 0)
        yield
    finally:
        os.close(fd)


def _describe_holder(path: Path) -> str:
    try:
        holder = json.loads(path.read_text())
        return f"{holder['purpose']} (pid {holder['pid']} on {holder['host']}, since {holder['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
