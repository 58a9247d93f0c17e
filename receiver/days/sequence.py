"""How far the numbers of requests have reached, kept outside the day files so that it outlives them.

    DATA/sequence.json    {"version": 1, "landed_seq": 30, "crc32": ...}

Readers of `received_seq`, the ETL above all, take what is larger than the number they saw last for new. So a number is
never given out twice, whatever was removed. Where the file is damaged, or gone with all days, numbers go on far above
any that can have been given out.
"""

import contextlib
import json
import zlib
from datetime import date
from pathlib import Path

import duckdb

from foundation.errors import SpanloopError
from foundation.files import write_json
from foundation.narration import get_logger
from receiver.days import files as days

log = get_logger("receiver")

VERSION = 1
JUMP = 1 << 32
"""How far numbers go on above the last one known where the file cannot tell."""


def sequence_path(data: Path) -> Path:
    """Return the file that says how far the numbers have reached."""
    return data / "sequence.json"


def note(data: Path, landed_seq: int) -> None:
    """Write down that everything up to a number has landed. Durable on return; never goes back."""
    if (read(data) or 0) < landed_seq:
        write_json(sequence_path(data), {"version": VERSION, "landed_seq": landed_seq, "crc32": _crc(landed_seq)})


def read(data: Path) -> int | None:
    """Return the number noted; None when there is no file, or a damaged one. Raises for one of a later release."""
    with contextlib.suppress(FileNotFoundError, ValueError, KeyError, TypeError):
        document = json.loads(sequence_path(data).read_bytes())
        if document["version"] > VERSION:
            raise SpanloopError(
                f"{sequence_path(data)} has version {document['version']}; this receiver writes {VERSION}",
                hint="Use the release that wrote it, or start with another --data.",
            )
        landed_seq = document["landed_seq"]
        if isinstance(landed_seq, int) and document["crc32"] == _crc(landed_seq):
            return landed_seq
    return None


def landed_seq(data: Path, connection: duckdb.DuckDBPyConnection, attached: list[date]) -> int:
    """Return the largest number whose request has landed, be its day still there or not."""
    return max(days.landed_seq(connection, attached), read(data) or 0)


def floor_seq(data: Path, landed_seq: int) -> int:
    """Return the number above which new ones begin."""
    if read(data) is not None:
        return landed_seq
    is_damaged = sequence_path(data).exists()
    if is_damaged or (not days.day_files(data) and (data / "dataset").exists()):
        log.warning(
            "how far the numbers of requests reached is not known; they go on far above",
            file=sequence_path(data).name,
            damaged=is_damaged,
            next_seq=landed_seq + JUMP + 1,
        )
        return landed_seq + JUMP
    return landed_seq


def _crc(landed_seq: int) -> int:
    return zlib.crc32(f"{VERSION} {landed_seq}".encode())
