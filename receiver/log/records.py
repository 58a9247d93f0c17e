"""How requests are written into a segment of the log, and read back: headers and records with their checksums.

    header   magic, crc, generation, first seq, last seq acknowledged before it
    record   marker, crc, crc of the payload, length, seq, last seq acknowledged before it, received_ns, kind,
             project, body

A generation is a random number drawn each time a segment is taken into use; every checksum covers it, with the length
and the sequence number, so neither a record of an earlier use nor a header cut at a sector border passes for a record
of this one. The marker is the generation in disguise: no body holds it by chance or on purpose, and the first record
tells the generation where the header is lost.
"""

import struct
import zlib
from dataclasses import dataclass, field

from receiver.decode.native import NativeSpans

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


def encoded_size(entry: Entry) -> int:
    """Return the bytes a record takes in a segment."""
    size = RECORD.size + len(entry.project.encode()) + len(entry.body)
    return size + -size % ALIGNMENT


def encode_record(record: Record, generation: int, acknowledged: int) -> list[bytes]:
    """Return the bytes of a record, in parts."""
    entry = record.entry
    project = entry.project.encode()
    payload_crc = zlib.crc32(entry.body, zlib.crc32(project))
    fields = (payload_crc, len(entry.body), record.seq, acknowledged, entry.received_ns, entry.kind, len(project))
    padding = -(RECORD.size + len(project) + len(entry.body)) % ALIGNMENT
    crc = zlib.crc32(FIELDS.pack(generation, *fields))
    return [RECORD.pack(_marker(generation), crc, *fields) + project, entry.body, bytes(padding)]


def _marker(generation: int) -> bytes:
    return (generation ^ MARKER_MASK).to_bytes(8, "little")


def encode_header(generation: int, first_seq: int, acknowledged: int) -> bytes:
    """Return the first sector of a segment that is taken into use."""
    crc = zlib.crc32(struct.pack("<QQQ", generation, first_seq, acknowledged))
    return HEADER.pack(HEADER_MAGIC, crc, 0, generation, first_seq, acknowledged).ljust(HEADER_BYTES, b"\0")


def decode_header(content: bytes) -> tuple[int, bytes, int, int] | None:
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


def is_newer(content: bytes) -> bool:
    """Tell whether a segment that cannot be read was written by a later release: a whole header of its own kind."""
    if len(content) < HEADER_BYTES:
        return False
    magic: bytes
    magic, crc, _, *covered = HEADER.unpack_from(content)
    is_later = magic[:7] == HEADER_MAGIC[:7] and magic[7:].isdigit() and magic > HEADER_MAGIC
    return is_later and bool(crc == zlib.crc32(struct.pack("<QQQ", *covered)))


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


def decode_records(
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
