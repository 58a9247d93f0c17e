"""Files that appear whole or not at all, private to their user, and a lock that says who holds it."""

import contextlib
import fcntl
import json
import math
import os
import socket
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from foundation.directories import unusable
from foundation.errors import Busy, SettingsError


def sync_directory(path: Path) -> None:
    """Make the names inside a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_directory(path: Path) -> None:
    """Create a directory and its parents for their user alone; an existing one is left as it is."""
    missing = [part for part in (path, *path.parents) if not part.exists()]
    for part in reversed(missing):
        part.mkdir(mode=0o700, exist_ok=True)
        _give_to_owner_of(part.parent, part)


def make_private(path: Path) -> None:
    """Take a file or directory from everybody but its user; one of another user, or none, is left alone."""
    with contextlib.suppress(FileNotFoundError, PermissionError):
        path.chmod(path.stat().st_mode & 0o700)


def _give_to_owner_of(directory: Path, made: Path) -> None:
    """Where root makes a file in somebody's directory, give it to them: a receiver of theirs has to read it."""
    if os.geteuid() != 0:
        return
    owner = directory.stat()
    if owner.st_uid != 0:
        os.chown(made, owner.st_uid, owner.st_gid)


def create_private(path: Path) -> BinaryIO:
    """Open a new file for writing, in place of one of its name; whose it is, as with `write_atomically`."""
    path.unlink(missing_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    _give_to_owner_of(path.parent, path)
    return os.fdopen(fd, "wb")


def read_prompt(path: Path) -> str:
    """Return the text of a file that holds a system message, without the line end an editor leaves."""
    try:
        text = path.read_text(encoding="utf-8").removesuffix("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {error}", hint="Name a text file in UTF-8.") from None
    if not text.strip():
        raise SettingsError(f"{path} is empty", hint="Write the system message into it.")
    return text


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file by its new content: after a crash it is the old one or the new one, never half of either.

    The file is its user's alone (0600); made by root, it is the user's who owns the directory.
    """
    with replacing(path, content):
        pass


@contextlib.contextmanager
def replacing(path: Path, content: bytes) -> Iterator[None]:
    """Write a file's new content beside it, run the block, then put it in the file's place.

    What the block writes is there before the change shows. Where the block, or the disk, fails, the file is as it was.
    """
    make_directory(path.parent)
    fd, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    former = Path(f"{temporary}.former")
    try:
        _give_to_owner_of(path.parent, Path(temporary))
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield
        with contextlib.suppress(OSError):  # there is none, or the file system has no links
            os.link(path, former)
        Path(temporary).replace(path)
        try:
            sync_directory(path.parent)
        except OSError:
            if _restored(path, former):
                raise
            # It shows and stays: all that is not known is whether it would outlive a loss of power at this moment.
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    finally:
        former.unlink(missing_ok=True)


def _restored(path: Path, former: Path) -> bool:
    """Put a file's former content back into its place; tell whether that could be done."""
    with contextlib.suppress(OSError):
        if former.exists():
            former.replace(path)
            return True
    return False


def write_json(path: Path, value: Any) -> None:  # noqa: ANN401 - whatever json can write
    """Write a value as readable JSON, atomically; keys keep their order, and null stands for what is not finite."""
    write_atomically(path, readable_json(value))


def readable_json(value: Any) -> bytes:  # noqa: ANN401 - whatever json can write
    r"""Return a value as JSON for people. Null stands for NaN and infinities: JSON has no such numbers.

    >>> readable_json({"gain": math.inf})
    b'{\n  "gain": null\n}\n'
    """
    return (json.dumps(finite(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def finite(value: Any) -> Any:  # noqa: ANN401
    """Return a value in which None stands for every number that is not finite."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: finite(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(each) for each in value]
    return value


@contextlib.contextmanager
def exclusive(path: Path, *, purpose: str) -> Iterator[None]:
    """Hold a lock file while the block runs; raise `Busy` naming the holder when another process has it.

    The lock is the kernel's (flock), so it is gone with its holder however that ended; the text in the file only says
    who it was.
    """
    try:
        make_directory(path.parent)
        is_new = not path.exists()
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise unusable(path, error) from error
    try:
        if is_new:
            _give_to_owner_of(path.parent, path)
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
