"""Requests that could not be sent, kept on disk within a bound until they can. Standard library only.

One file a request, its name in the order of arrival, mode 0600: prompts lie in it. The oldest go when the bound is
reached. Several processes may share a directory: whoever takes a file renames it first, so none is sent twice by us.
"""

import contextlib
import itertools
import os
import time
from pathlib import Path

SUFFIX = ".otlp"
TAKEN = ".taken"
ABANDONED_S = 600.0
"""A file taken longer ago than this belonged to a process that is gone, and is offered again."""


class Spool:
    """A bounded directory of requests: `put` what could not be sent, `take` what is oldest, `done` with it or back."""

    def __init__(self, directory: Path, max_bytes: int) -> None:
        self.directory = directory
        self.max_bytes = max_bytes
        self.num_dropped = 0
        self._numbers = itertools.count()
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)

    def put(self, kind: str, body: bytes) -> bool:
        """Keep a request of a kind (`traces`, `logs`); tell whether it is. Raises OSError when the disk will not."""
        if len(body) > self.max_bytes:
            self.num_dropped += 1
            return False
        self._make_room(len(body))
        name = f"{time.time_ns():020d}-{os.getpid()}-{next(self._numbers)}.{kind}"
        partial = self.directory / f"{name}.part"
        try:
            with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(body)
                file.flush()
                os.fsync(file.fileno())
            partial.rename(self.directory / f"{name}{SUFFIX}")
        except OSError:
            with contextlib.suppress(OSError):
                partial.unlink()
            raise
        return True

    def take(self) -> "tuple[Path, str, bytes] | None":
        """Return the oldest request as (file, kind, body), ours until `done` or `give_back`; None without one."""
        for path in self._waiting():
            taken = path.with_name(path.name + TAKEN)
            try:
                path.rename(taken)
                os.utime(taken)
                return taken, path.name.removesuffix(SUFFIX).rpartition(".")[2], taken.read_bytes()
            except OSError:  # another process was faster
                continue
        return None

    def done(self, taken: Path) -> None:
        """Remove a request that was sent."""
        with contextlib.suppress(OSError):
            taken.unlink()

    def give_back(self, taken: Path) -> None:
        """Keep a request that still cannot be sent."""
        with contextlib.suppress(OSError):
            taken.rename(taken.with_name(taken.name.removesuffix(TAKEN)))

    def _waiting(self) -> "list[Path]":
        now = time.time()
        for path in self.directory.glob(f"*{SUFFIX}{TAKEN}"):
            with contextlib.suppress(OSError):
                if now - path.stat().st_mtime > ABANDONED_S:
                    self.give_back(path)
        return sorted(self.directory.glob(f"*{SUFFIX}"))

    def _make_room(self, num_bytes: int) -> None:
        sizes = []
        for path in self._waiting():
            with contextlib.suppress(OSError):
                sizes.append((path, path.stat().st_size))
        total = sum(size for _, size in sizes)
        for path, size in sizes:
            if total + num_bytes <= self.max_bytes:
                return
            with contextlib.suppress(OSError):
                path.unlink()
                self.num_dropped += 1
                total -= size
