"""The lock on a DATA directory: one process at a time writes its log and day files."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from foundation.errors import Busy
from foundation.files import exclusive


@contextlib.contextmanager
def hold(data: Path, purpose: str, *, wait_s: float = 1.0) -> Iterator[None]:
    """Hold DATA's day files and log while the block runs; raise `Busy` naming the holder.

    A reader looks at the lock for an instant to see whether a receiver runs, hence the short patience.
    """
    data.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + wait_s
    with contextlib.ExitStack() as stack:
        while True:
            try:
                stack.enter_context(exclusive(lock_path(data), purpose=purpose))
                break
            except Busy:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        yield


def lock_path(data: Path) -> Path:
    """Return the lock file of a DATA directory."""
    return data / "receiver.lock"


def announcement_path(data: Path) -> Path:
    """Return the file in which a running receiver says where it is."""
    return data / "receiver.json"
