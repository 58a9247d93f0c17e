"""The write-ahead log: what is in it after `write` returned is there after a power loss.

Segments are files of a fixed size, filled with zeros once and then overwritten again and again: a durable write into
them touches no block allocation, which halves its cost. A segment in use begins with a header and holds records
(`receiver.log.records`). Sequence numbers grow by one from record to record and are never used twice.

A record states the last number acknowledged before it was written. So recovery can tell a tail that was never
acknowledged, which is dropped in silence, from damage to acknowledged records, which is reported with its exact range.
A log that is closed after everything has landed leaves no segment: nobody's prompts lie about in it.
The log is used by one thread at a time.
"""

import contextlib
import secrets
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from foundation.errors import SpanloopError
from receiver.log.disk import ZEROS, Disk
from receiver.log.records import (
    HEADER_BYTES,
    Entry,
    Record,
    decode_header,
    decode_records,
    encode_header,
    encode_record,
    encoded_size,
    is_newer,
)

SEGMENT_BYTES = 32 << 20
KEEP_FREE = 4
"""Landed segments kept for the next use; more than these are removed."""


@dataclass(frozen=True)
class Loss:
    """Acknowledged records that a damaged segment no longer holds."""

    path: Path
    """The damaged segment; the directory of the log where the segment is gone."""
    first_seq: int
    last_seq: int


@dataclass
class Recovery:
    """What a log held when it was opened."""

    records: list[Record] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)
    reached_seq: int = 0
    """Largest number of a record that is there."""
    last_seq: int = 0
    """Largest number any segment mentions, of records that failed too."""


@dataclass
class _Segment:
    path: Path
    size: int
    first_seq: int = 0
    last_seq: int = 0
    is_abandoned: bool = False


class WriteAheadLog:
    """Appends groups of entries durably and hands back, on opening, those that have not landed."""

    def __init__(self, directory: Path, disk: Disk, *, segment_bytes: int = SEGMENT_BYTES) -> None:
        self._directory = directory
        self._disk = disk
        self._segment_bytes = segment_bytes
        self._free: list[_Segment] = []
        self._full: list[_Segment] = []
        self._current: _Segment | None = None
        self._handle = -1
        self._offset = 0
        self._generation = 0
        self._next_seq = 1
        self._acknowledged = 0

    @property
    def size_bytes(self) -> int:
        """Bytes of the segments that hold records not yet released."""
        return sum(segment.size for segment in self._full) + (self._offset if self._current else 0)

    @property
    def last_seq(self) -> int:
        """Largest sequence number given out so far."""
        return self._next_seq - 1

    def open(self, landed_seq: int, *, floor_seq: int = 0) -> Recovery:
        """Read what is there, keep what has not landed, and make ready for writing with numbers above `floor_seq`.

        A segment in which acknowledged records are damaged is copied to `quarantine/` inside the log's directory; its
        readable records are recovered like all others, and the segment itself stays until they have landed.
        """
        self._disk.make_directory(self._directory)
        recovery, segments = scan(self._directory, self._disk, landed_seq)
        for path in sorted({loss.path for loss in recovery.losses} - {self._directory}):
            self._quarantine(path)
        for segment in segments:
            if segment.last_seq > landed_seq:
                self._full.append(segment)
            elif segment.size == self._segment_bytes:
                self._free.append(segment)
            else:
                self._disk.unlink(segment.path)
        self._next_seq = max(recovery.last_seq, landed_seq, floor_seq) + 1
        self._acknowledged = max(recovery.reached_seq, landed_seq)
        return recovery

    def _quarantine(self, path: Path) -> None:
        quarantine = self._directory / "quarantine"
        self._disk.make_directory(quarantine)
        content = self._disk.read(path)
        copy = quarantine / f"{zlib.crc32(content):08x}-{path.name}"
        if copy in self._disk.list(quarantine):
            return
        temporary = copy.with_suffix(".tmp")
        self._disk.unlink(temporary)
        handle = self._disk.create(temporary)
        try:
            self._disk.write(handle, [content], 0)
            self._disk.sync(handle)
        finally:
            self._disk.close(handle)
        self._disk.rename(temporary, copy)
        self._disk.sync_directory(quarantine)

    def write(self, entries: Sequence[Entry]) -> list[Record]:
        """Append a group of entries and return it, numbered, once it is durable.

        Raises OSError when any of them may not be: then none counts as written. The numbers are used up all the
        same, and the file is never synced again, since a second fsync may report success for pages the first one lost.
        """
        records = []
        for entry in entries:
            records.append(Record(self._next_seq, entry))
            self._next_seq += 1
        try:
            self._append(records)
            self._disk.sync(self._handle)
        except BaseException:
            self._abandon()
            raise
        self._acknowledged = records[-1].seq
        return records

    def _append(self, records: list[Record]) -> None:
        parts: list[bytes] = []
        start = self._offset
        for record in records:
            size = encoded_size(record.entry)
            if self._current is None or self._offset + size > self._current.size:
                if parts:
                    self._disk.write(self._handle, parts, start)
                    parts = []
                self._rotate(record.seq, HEADER_BYTES + size)
                start = self._offset
            assert self._current is not None
            parts += encode_record(record, self._generation, self._acknowledged)
            self._offset += size
            self._current.last_seq = record.seq
        self._disk.write(self._handle, parts, start)

    def _rotate(self, first_seq: int, needed_bytes: int) -> None:
        """Take the next segment into use. The one before is made durable first, so that no gap precedes a record."""
        if self._current is not None:
            self._disk.sync(self._handle)
            self._disk.close(self._handle)
            self._full.append(self._current)
            self._current = None
        if self._free and needed_bytes <= self._segment_bytes:
            segment = self._free.pop()
            handle = self._disk.open(segment.path)
        else:
            segment, handle = self._create(max(needed_bytes, self._segment_bytes))
        self._generation = secrets.randbits(64)
        segment.first_seq, segment.last_seq = first_seq, first_seq - 1
        self._current, self._handle, self._offset = segment, handle, HEADER_BYTES
        self._disk.write(handle, [encode_header(self._generation, first_seq, self._acknowledged)], 0)

    def _create(self, size: int) -> tuple[_Segment, int]:
        taken = [int(path.stem) for path in self._disk.list(self._directory) if path.suffix == ".seg"]
        path = self._directory / f"{max(taken, default=0) + 1:08d}.seg"
        handle = self._disk.create(path)
        try:
            for offset in range(0, size, len(ZEROS)):
                self._disk.write(handle, [ZEROS[: size - offset]], offset)
            self._disk.sync(handle)
            self._disk.sync_directory(self._directory)
        except OSError:
            self._disk.close(handle)
            self._disk.unlink(path)
            raise
        return _Segment(path, size), handle

    def _abandon(self) -> None:
        """Never write to the file of a failed write again; what it holds of earlier groups stays until that landed."""
        if self._current is not None:
            with contextlib.suppress(OSError):
                self._disk.close(self._handle)
            self._current.last_seq = self._acknowledged
            self._current.is_abandoned = True
            self._full.append(self._current)
            self._current = None

    def release(self, landed_seq: int) -> None:
        """Make the segments whose every record has landed available for new records."""
        for segment in [segment for segment in self._full if segment.last_seq <= landed_seq]:
            self._full.remove(segment)
            reusable = segment.size == self._segment_bytes and not segment.is_abandoned
            if reusable and len(self._free) < KEEP_FREE:
                self._free.append(segment)
            else:
                self._disk.unlink(segment.path)

    def close(self, landed_seq: int) -> None:
        """Stop writing. Where everything has landed, remove the segments: what they hold was sent in confidence.

        The caller has noted elsewhere how far the numbers reached.
        """
        if self._current is not None:
            self._disk.close(self._handle)
            self._full.append(self._current)
            self._current = None
        self.release(landed_seq)
        if not self._full:
            for segment in self._free:
                with contextlib.suppress(OSError):  # one that stays costs the next start a scan
                    self._disk.unlink(segment.path)
            self._free.clear()


def scan(directory: Path, disk: Disk, landed_seq: int) -> tuple[Recovery, list[_Segment]]:
    """Read a log without changing it: the records after `landed_seq` in order, and what is damaged."""
    recovery = Recovery()
    segments: list[_Segment] = []
    found: list[tuple[_Segment, list[Record], list[tuple[int, int]], int]] = []
    unreadable: list[Path] = []
    for path in disk.list(directory):
        if path.suffix != ".seg":
            continue
        content = disk.read(path)
        segment = _Segment(path, len(content))
        segments.append(segment)
        header = decode_header(content)
        if header is None:
            if is_newer(content):
                raise SpanloopError(f"{path} was written by a later release", hint="Use the release that wrote it.")
            if any(content[:HEADER_BYTES]) or len(content) < HEADER_BYTES:  # one that was just made is zeros
                unreadable.append(path)
            continue
        generation, marker, segment.first_seq, acknowledged_before = header
        records, holes = decode_records(content, generation, marker, segment.first_seq)
        segment.last_seq = max([segment.first_seq - 1, *(record.seq for record in records)])
        found.append((segment, records, holes, acknowledged_before))
    found.sort(key=lambda item: item[0].first_seq)

    suspects = list(unreadable)
    for segment, records, holes, acknowledged_before in found:
        if acknowledged_before > max(recovery.reached_seq, landed_seq):
            first_lost = max(recovery.reached_seq, landed_seq) + 1
            recovery.losses.append(Loss(suspects[-1] if suspects else directory, first_lost, acknowledged_before))
        for first, last in holes:
            if last > landed_seq:
                recovery.losses.append(Loss(segment.path, max(first, landed_seq + 1), last))
        recovery.records += [record for record in records if record.seq > landed_seq]
        recovery.reached_seq = max([recovery.reached_seq, *(record.seq for record in records)])
        recovery.last_seq = max(recovery.last_seq, segment.last_seq, segment.first_seq - 1, acknowledged_before)
        suspects = unreadable or [segment.path]
    return recovery, segments
