"""A store in a directory: conditions hold under the kernel's lock on one file beside the objects."""

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from foundation.files import make_directory, sync_directory, write_atomically
from foundation.store.store import Found, Superseded, checked

LOCK = ".lock"


class LocalStore:
    """Objects are files, synced before they show, each replaced by rename; a tag is the digest of its content."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory.absolute()
        self.url = self._directory.as_uri()

    def _path(self, key: str) -> Path:
        return self._directory / checked(key)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock of all pointers; it is gone with its holder, however that ended."""
        make_directory(self._directory)
        fd = os.open(self._directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def get(self, key: str) -> Found | None:
        """Return an object; None where there is none."""
        try:
            content = self._path(key).read_bytes()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return None
        return Found(content, _tag(content))

    def put(self, key: str, content: bytes) -> None:
        """Write an object whose key says its content."""
        write_atomically(self._path(key), content)

    def create(self, key: str, content: bytes) -> str:
        """Write a pointer that is not there yet; return its tag."""
        with self._locked():
            there = self.get(key)
            if there is None:
                write_atomically(self._path(key), content)
            elif there.content != content:
                raise Superseded(f"{self.url}/{key} is there already")
        return _tag(content)

    def replace(self, key: str, content: bytes, tag: str) -> str:
        """Write a pointer that has this tag; return its new one."""
        with self._locked():
            there = self.get(key)
            if there is None or (there.tag != tag and there.content != content):
                raise Superseded(f"{self.url}/{key} has been changed meanwhile")
            write_atomically(self._path(key), content)
        return _tag(content)

    def remove(self, key: str) -> None:
        """Remove an object, where it is there."""
        with contextlib.suppress(FileNotFoundError):
            self._path(key).unlink()
            sync_directory(self._path(key).parent)

    def names(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Yield key and size of every object below a prefix, in order."""
        top = self._path(prefix) if prefix else self._directory
        for path in sorted(top.rglob("*")):
            own = path.relative_to(self._directory)
            if not any(part.startswith(".") for part in own.parts):
                with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                    if path.is_file():
                        yield str(own), path.stat().st_size

    def upload(self, key: str, path: Path) -> None:
        """Write a file as an object, copied beside it first and renamed when it is whole."""
        target = self._path(key)
        make_directory(target.parent)
        partial = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        try:
            with path.open("rb") as source, partial.open("wb") as copy:
                shutil.copyfileobj(source, copy, 1 << 20)
                copy.flush()
                os.fsync(copy.fileno())
            partial.replace(target)
            sync_directory(target.parent)
        finally:
            partial.unlink(missing_ok=True)

    def download(self, key: str, path: Path) -> None:
        """Write an object into a new file."""
        with self._path(key).open("rb") as source, path.open("xb") as copy:
            shutil.copyfileobj(source, copy, 1 << 20)


def _tag(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
