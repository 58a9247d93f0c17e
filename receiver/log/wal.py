"""The write-ahead log: what is in it after `write` returned is there after a power loss.

Segments are files of a fixed size, filled with zeros once and then overwritten again and again: a durable write into
them touches no block allocation, which halves its cost. A segment in use begins with a header and holds records:

    header   magic, crc, generation, first seq, last seq acknowledged before it
    record   marker, crc, crc of the payload, length, seq, last seq acknowledged before it, received_ns, kind,
             project, body

Sequence numbers grow by one from record to record and are never used twice. A generation is a random number drawn each
time a segment is taken into use; every checksum covers it, with the length and the sequence number, so neither a record
of an earlier use nor a header cut at a sector border passes for a record of this one. The marker is the generation in
disguise: no body holds it by chance or on purpose, and the first record tells the generation where the header is lost.

A record states the last number acknowledged before it was written. So recovery can tell a tail that was never
acknowledged, which is dropped in silence, from damage to acknowledged records, which is reported with its exact range.
A log that is closed after everything has landed leaves no segment: nobody's prompts lie about in it.
The log is used by one thread at a time.
"""

import contextlib
import secrets
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from receiver.decode.native import NativeSpans
from receiver.log.disk import ZEROS, Disk

SEGMENT_BYTES = 32 << 20
KEEP_FREE = 4
"""Landed segments kept for the next use; more than these are removed."""

HEADER_MAGIC = b"spanwal2"
OLDER_HEADER_MAGIC = b"spanwal1"
"""Of segments written before records were marked with their generation; they are read, and not written."""
HEADER = struct.Struct("<8sIIQQQ")
HEADER_BYTES = 512
"""A header has its disk sector to itself, so that overwriting it never tears a record."""

OLDER_RECORD_MAGIC = b"\xd5span\xf1rc"
MARKER_MASK = 0x6372F16E617073D5
RECORD = struct.Struct("<8sIIIQQqHH")
FIELDS = struct.Struct("<QIIQQqHH")
"""What the crc of a record covers: the generation, then the fields of the record that follow the crc."""
ALIGNMENT = 8
MAX_PROJECT_BYTES = 4096


@dataclass(frozen=True)
class Entry:
    """One export request as it is logged."""

    kind: int
    project: str
    body: bytes
    received_ns: int
    spans: NativeSpans | None = field(default=None, compare=False)
    """What was decoded of the body on its way in; not logged."""

    def __post_init__(self) -> None:
        if len(self.project.encode()) > MAX_PROJECT_BYTES:
            raise ValueError(f"a project of {len(self.project)} characters is too long to be logged")

    @property
    def size_bytes(self) -> int:
        """Size of what the entry carries."""
        return len(self.body)


@dataclass(frozen=True)
class Record:
    """An entry with its place in the order of receipt."""

    seq: int
    entry: Entry


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
            size = _encoded_size(record.entry)
            if self._current is None or self._offset + size > self._current.size:
                if parts:
                    self._disk.write(self._handle, parts, start)
                    parts = []
                self._rotate(record.seq, HEADER_BYTES + size)
                start = self._offset
            assert self._current is not None
            parts += _encode(record, self._generation, self._acknowledged)
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
        self._disk.write(handle, [_encode_header(self._generation, first_seq, self._acknowledged)], 0)

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
        header = _decode_header(content)
        if header is None:
            if any(content[:HEADER_BYTES]) or len(content) < HEADER_BYTES:  # one that was just made is zeros
                unreadable.append(path)
            continue
        generation, marker, segment.first_seq, acknowledged_before = header
        records, holes = _decode_records(content, generation, marker, segment.first_seq)
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


def _encoded_size(entry: Entry) -> int:
    size = RECORD.size + len(entry.project.encode()) + len(entry.body)
    return size + -size % ALIGNMENT


def _encode(record: Record, generation: int, acknowledged: int) -> list[bytes]:
    entry = record.entry
    project = entry.project.encode()
    payload_crc = zlib.crc32(entry.body, zlib.crc32(project))
    fields = (payload_crc, len(entry.body), record.seq, acknowledged, entry.received_ns, entry.kind, len(project))
    padding = -(RECORD.size + len(project) + len(entry.body)) % ALIGNMENT
    crc = zlib.crc32(FIELDS.pack(generation, *fields))
    return [RECORD.pack(_marker(generation), crc, *fields) + project, entry.body, bytes(padding)]


def _marker(generation: int) -> bytes:
    return (generation ^ MARKER_MASK).to_bytes(8, "little")


def _encode_header(generation: int, first_seq: int, acknowledged: int) -> bytes:
    crc = zlib.crc32(struct.pack("<QQQ", generation, first_seq, acknowledged))
    return HEADER.pack(HEADER_MAGIC, crc, 0, generation, first_seq, acknowledged).ljust(HEADER_BYTES, b"\0")


def _decode_header(content: bytes) -> tuple[int, bytes, int, int] | None:
    """Return generation, marker of its records, first number and the last acknowledged before, or None for no use."""
    if len(content) < HEADER_BYTES:
        return None
    magic, crc, _, generation, first_seq, acknowledged = HEADER.unpack_from(content)
    is_known = magic in (HEADER_MAGIC, OLDER_HEADER_MAGIC)
    if is_known and crc == zlib.crc32(struct.pack("<QQQ", generation, first_seq, acknowledged)):
        marker = _marker(generation) if magic == HEADER_MAGIC else OLDER_RECORD_MAGIC
        return generation, marker, first_seq, acknowledged
    marker = content[HEADER_BYTES : HEADER_BYTES + 8]
    generation = int.from_bytes(marker, "little") ^ MARKER_MASK
    first = _decode_head(content, HEADER_BYTES, generation, marker)
    return None if first is None else (generation, marker, first.seq, first.acknowledged)


@dataclass(frozen=True)
class _Head:
    """What precedes the payload of a record, proven by its checksum."""

    seq: int
    acknowledged: int
    payload_crc: int
    received_ns: int
    kind: int
    start: int
    """Where the payload begins: the project, then the body."""
    project_length: int
    length: int
    end: int
    """Where the next record begins."""


def _decode_head(content: bytes, offset: int, generation: int, marker: bytes) -> _Head | None:
    if offset + RECORD.size > len(content):
        return None
    found, crc, *fields = RECORD.unpack_from(content, offset)
    payload_crc, length, seq, acknowledged, received_ns, kind, project_length = fields
    start = offset + RECORD.size
    end = start + project_length + length
    if found != marker or end > len(content) or crc != zlib.crc32(FIELDS.pack(generation, *fields)):
        return None
    end += -(end - offset) % ALIGNMENT
    return _Head(seq, acknowledged, payload_crc, received_ns, kind, start, project_length, length, end)


def _decode_records(
    content: bytes, generation: int, marker: bytes, first_seq: int
) -> tuple[list[Record], list[tuple[int, int]]]:
    """Return the records of a segment and the ranges of acknowledged numbers missing among them."""
    records: list[Record] = []
    holes: list[tuple[int, int]] = []
    offset, expected = HEADER_BYTES, first_seq
    while True:
        head = _decode_head(content, offset, generation, marker)
        if head is None or head.seq < expected:
            # The tail, or damage. Behind damage there is a record written after the missing ones were acknowledged.
            offset = content.find(marker, offset + 1)
            if offset < 0:
                return records, holes
            continue
        offset = head.end
        record = _decode_record(content, head)
        if record is None:  # its place is known to be right, so nothing inside it is looked at
            continue
        if head.seq > expected:
            if head.acknowledged < expected:  # none of the missing was acknowledged, so nothing from here on was
                return records, holes
            holes.append((expected, min(head.acknowledged, head.seq - 1)))
        records.append(record)
        expected = head.seq + 1


def _decode_record(content: bytes, head: _Head) -> Record | None:
    middle = head.start + head.project_length
    project, body = content[head.start : middle], content[middle : middle + head.length]
    if head.payload_crc != zlib.crc32(body, zlib.crc32(project)):
        return None
    return Record(head.seq, Entry(head.kind, project.decode(), body, head.received_ns))
