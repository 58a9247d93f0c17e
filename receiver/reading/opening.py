"""Chooses how DATA is read: through the receiver that holds it, or from the files when none runs."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from foundation.errors import Busy
from receiver.reading.find import PATIENCE_S, find_receiver
from receiver.tables import Reader


def open_reader(data: Path) -> Reader:
    """Open DATA for reading. An empty or missing directory reads as empty tables."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        where = find_receiver(data)
        if where is not None:
            from receiver.reading.remote import ReceiverReader  # deferred: each way brings its own libraries

            return ReceiverReader(where)
        from receiver.reading.files import FileReader, recover

        try:
            recover(data)
            return FileReader(data)
        except Busy:  # a receiver or another reader was quicker
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


@contextlib.contextmanager
def reading(data: Path) -> Iterator[Reader]:
    """Open DATA for reading while the block runs."""
    reader = open_reader(data)
    try:
        yield reader
    finally:
        reader.close()
