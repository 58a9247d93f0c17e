"""Records of the log are read back as they were written, and nothing else passes for one."""

import random

import pytest

from receiver.log.records import (
    HEADER_BYTES,
    MAX_PROJECT_BYTES,
    Entry,
    Record,
    decode_header,
    decode_records,
    encode_header,
    encode_record,
    encoded_size,
)

GENERATION = 0x1234_5678_9ABC_DEF0


def segment(*records: Record, acknowledged: int = 0, generation: int = GENERATION) -> bytes:
    """Return a segment in which each record was written once those before it were acknowledged."""
    header = encode_header(generation, records[0].seq, acknowledged)
    parts = [b"".join(encode_record(record, generation, record.seq - 1)) for record in records]
    return header + b"".join(parts)


def read(content: bytes) -> tuple[list[int], list[tuple[int, int]]]:
    """Return the numbers that are read of a segment and those that are missing."""
    head = decode_header(content)
    assert head is not None
    generation, marker, first_seq, _ = head
    records, holes = decode_records(content, generation, marker, first_seq)
    return [record.seq for record in records], holes


RECORDS = [Record(seq, Entry(1, "project ü" * (seq % 2), b"body" * seq, 7 * seq)) for seq in range(5, 9)]


def test_what_was_written_is_read() -> None:
    """Empty projects, letters beyond ASCII, any length; each takes the room that was said."""
    content = segment(*RECORDS)
    head = decode_header(content)
    assert head is not None

    assert decode_records(content, head[0], head[1], head[2]) == (RECORDS, [])
    assert head[2:] == (5, 0)
    assert len(content) == HEADER_BYTES + sum(encoded_size(record.entry) for record in RECORDS)


def test_damage_costs_the_record_in_which_it_is() -> None:
    """Those behind it are found, and what was acknowledged and is missing is named."""
    sizes = [encoded_size(record.entry) for record in RECORDS]
    for number, record in enumerate(RECORDS[:-1]):
        content = bytearray(segment(*RECORDS))
        content[HEADER_BYTES + sum(sizes[:number]) + sizes[number] // 2] ^= 1
        found, holes = read(bytes(content))
        assert found == [one.seq for one in RECORDS if one is not record]
        assert holes == [(record.seq, record.seq)]


def test_a_tail_that_was_not_acknowledged_is_no_loss() -> None:
    """Torn at any byte: what is whole before it is read, and nothing is missing."""
    content = segment(*RECORDS)
    for length in range(HEADER_BYTES + 1, len(content), 7):
        found, holes = read_or_nothing(content[:length])
        assert found == [record.seq for record in RECORDS[: len(found)]]
        assert holes == []


def read_or_nothing(content: bytes) -> tuple[list[int], list[tuple[int, int]]]:
    return read(content) if decode_header(content) is not None else ([], [])


def test_a_record_of_an_earlier_use_of_the_segment_is_none() -> None:
    """It has another generation; nor is a body that looks like a record of this one."""
    old = segment(*RECORDS, generation=GENERATION + 1)
    new = segment(Record(20, Entry(1, "", b"".join(encode_record(RECORDS[0], GENERATION + 1, 0)), 0)))

    assert read(new + old[len(new) :]) == ([20], [])


def test_a_header_that_is_lost_is_told_by_the_first_record() -> None:
    """Its marker is the generation in disguise."""
    content = bytes(HEADER_BYTES) + segment(*RECORDS)[HEADER_BYTES:]

    assert read(content)[0] == [record.seq for record in RECORDS]
    assert decode_header(bytes(4096)) is None
    assert decode_header(random.Random(7).randbytes(4096)) is None
    assert decode_header(b"") is None


def test_a_project_that_would_not_fit_is_refused_before_it_is_written() -> None:
    """In bytes, not characters."""
    with pytest.raises(ValueError, match="too long"):
        Entry(1, "ü" * (MAX_PROJECT_BYTES // 2 + 1), b"", 0)
