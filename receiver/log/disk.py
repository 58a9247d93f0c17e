"""The file operations under the write-ahead log, few enough to be replaced by a disk that fails on purpose."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from foundation.files import make_directory, sync_directory

ZEROS = bytes(1 << 20)


@dataclass(frozen=True)
class Space:
    """Size of a file system and what of it is free for this process."""

    total_bytes: int
    free_bytes: int


class Disk(Protocol):
    """What the write-ahead log asks of a file system. Paths are whole; handles are small integers."""

    def list(self, directory: Path) -> list[Path]:
        """Return the files of a directory, sorted by name; none when the directory is missing."""
        ...

    def make_directory(self, directory: Path) -> None:
        """Create a directory and its parents, durably; an existing one is fine."""
        ...

    def read(self, path: Path) -> bytes:
        """Return the whole content of a file."""
        ...

    def create(self, path: Path) -> int:
        """Create an empty file, which must not exist, and open it for writing."""
        ...

    def open(self, path: Path) -> int:
        """Open an existing file for writing."""
        ...

    def write(self, handle: int, parts: Sequence[bytes], offset: int) -> None:
        """Write all the parts, one after the other, from an offset on."""
        ...

    def sync(self, handle: int) -> None:
        """Make everything written to a file durable (not its name: see `sync_directory`)."""
        ...

    def close(self, handle: int) -> None:
        """Close a handle."""
        ...

    def rename(self, source: Path, target: Path) -> None:
        """Rename a file, replacing the target."""
        ...

    def unlink(self, path: Path) -> None:
        """Remove a file."""
        ...

    def sync_directory(self, directory: Path) -> None:
        """Make the names inside a directory durable."""
        ...

    def space(self, directory: Path) -> Space:
        """Return how large the file system of a directory is, and how much of it is free."""
        ...


class OsDisk:
    """The disk of this machine."""

    def list(self, directory: Path) -> list[Path]:
        """Return the files of a directory, sorted by name; none when the directory is missing."""
        return sorted(path for path in directory.glob("*") if path.is_file())

    def make_directory(self, directory: Path) -> None:
        """Create a directory and its parents, durably; an existing one is fine."""
        missing = [path for path in (directory, *directory.parents) if not path.exists()]
        make_directory(directory)
        for path in missing:
            sync_directory(path.parent)

    def read(self, path: Path) -> bytes:
        """Return the whole content of a file."""
        return path.read_bytes()

    def create(self, path: Path) -> int:
        """Create an empty file, which must not exist, and open it for writing."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def open(self, path: Path) -> int:
        """Open an existing file for writing."""
        return os.open(path, os.O_WRONLY | os.O_CLOEXEC)

    def write(self, handle: int, parts: Sequence[bytes], offset: int) -> None:
        """Write all the parts, one after the other, from an offset on."""
        remaining = [memoryview(part) for part in parts if part]
        while remaining:
            written = os.pwritev(handle, remaining[:512], offset)  # Linux takes at most 1024 buffers a call
            offset += written
            while remaining and written >= len(remaining[0]):
                written -= len(remaining.pop(0))
            if written:
                remaining[0] = remaining[0][written:]

    def sync(self, handle: int) -> None:
        """Make everything written to a file durable (not its name: see `sync_directory`)."""
        os.fdatasync(handle)

    def close(self, handle: int) -> None:
        """Close a handle."""
        os.close(handle)

    def rename(self, source: Path, target: Path) -> None:
        """Rename a file, replacing the target."""
        source.replace(target)

    def unlink(self, path: Path) -> None:
        """Remove a file."""
        path.unlink(missing_ok=True)

    def sync_directory(self, directory: Path) -> None:
        """Make the names inside a directory durable."""
        sync_directory(directory)

    def space(self, directory: Path) -> Space:
        """Return how large the file system of a directory is, and how much of it is free."""
        status = os.statvfs(directory)
        return Space(status.f_blocks * status.f_frsize, status.f_bavail * status.f_frsize)
