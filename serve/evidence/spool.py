"""Export requests that wait on disk for a receiver that is away: oldest first, bounded, whole or not there.

    DIRECTORY/000000000042-128.otlp    the 42nd request, of 128 spans: a line that describes it, then its bytes

The name says how many spans there are, so that a start counts them without reading. Standard library only, and nothing
here knows of OTLP. Not synchronised to disk: what survives is a crash of the process, not one of the machine.
"""

import contextlib
import hashlib
import json
import re
import shutil
from collections import deque
from dataclasses import dataclass
from pathlib import Path

NAME = re.compile(r"(\d{12})-(\d+)\.otlp")


MAX_UNREAD = 20
"""Times in a row the oldest request may not be read, for want of files or by a disk's error, before it is given up."""


class NoRoom(Exception):
    """The spool, or the disk it is on, takes no more; the message says which."""


@dataclass(frozen=True)
class Batch:
    """An export request, encoded."""

    body: bytes
    num_spans: int
    project: str | None = None
    """Whose key it is to be sent with; null for the sender's own."""


@dataclass(frozen=True)
class _Entry:
    number: int
    num_spans: int
    size_bytes: int

    @property
    def name(self) -> str:
        return f"{self.number:012d}-{self.num_spans}.otlp"


class Spool:
    """One directory, one process. Not safe for several threads at once: its owner holds a lock."""

    def __init__(self, directory: Path, *, max_bytes: int, min_free_bytes: int) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        self._min_free_bytes = min_free_bytes
        """Left free on the disk, for those who need it more."""

        self.num_damaged = 0
        """Spans in files that were not what they said; those are removed."""

        self._num_unread = 0

        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = []
        for path in directory.iterdir():
            if match := NAME.fullmatch(path.name):
                found.append(_Entry(int(match[1]), int(match[2]), path.stat().st_size))
            elif path.suffix == ".partial":
                path.unlink()  # a crash in the middle of writing
        self._entries = deque(sorted(found, key=lambda entry: entry.number))
        self.num_bytes = sum(entry.size_bytes for entry in found)
        self.num_spans = sum(entry.num_spans for entry in found)

    def put(self, batch: Batch) -> None:
        """Keep a request. Raises `NoRoom`."""
        about = {
            "num_spans": batch.num_spans,
            "project": batch.project,
            "sha256": hashlib.sha256(batch.body).hexdigest(),
        }
        content = json.dumps(about).encode() + b"\n" + batch.body
        if self.num_bytes + len(content) > self._max_bytes:
            raise NoRoom(f"the spool is full: {self.num_bytes >> 20} of {self._max_bytes >> 20} MiB")
        number = self._entries[-1].number + 1 if self._entries else 1
        entry = _Entry(number, batch.num_spans, len(content))
        partial = self._directory / f"{entry.name}.partial"
        try:
            if shutil.disk_usage(self._directory).free - len(content) < self._min_free_bytes:
                raise NoRoom(f"less than {self._min_free_bytes >> 20} MiB are free below {self._directory}")
            partial.touch(mode=0o600)
            partial.write_bytes(content)
            partial.rename(self._directory / entry.name)
        except OSError as error:
            with contextlib.suppress(OSError):  # the next start removes it
                partial.unlink(missing_ok=True)
            raise NoRoom(f"{self._directory}: {error.strerror or error}") from error
        self._entries.append(entry)
        self.num_bytes += entry.size_bytes
        self.num_spans += entry.num_spans

    def first(self) -> Batch | None:
        """Return the oldest request, without taking it out; one that is gone or damaged is removed and counted.

        Raises the OSError of one that is there and cannot be read at the moment, `MAX_UNREAD` times in a row.
        """
        while self._entries:
            entry = self._entries[0]
            try:
                line, _, body = (self._directory / entry.name).read_bytes().partition(b"\n")
                about = json.loads(line)
                if about["sha256"] == hashlib.sha256(body).hexdigest():
                    return Batch(body, about["num_spans"], about["project"])
            except OSError as error:
                self._num_unread += 1
                if not isinstance(error, FileNotFoundError) and self._num_unread < MAX_UNREAD:
                    raise
            except (ValueError, KeyError, TypeError):
                pass
            self.num_damaged += entry.num_spans
            self.drop_first()
        return None

    def drop_first(self) -> None:
        """Forget the oldest request. A file that cannot be removed is sent once more by the next start."""
        entry = self._entries.popleft()
        self._num_unread = 0
        with contextlib.suppress(OSError):
            (self._directory / entry.name).unlink(missing_ok=True)
        self.num_bytes -= entry.size_bytes
        self.num_spans -= entry.num_spans
