"""A device with memory for one: a locked file, so that whoever finds it locked is out of memory."""

import fcntl
from pathlib import Path


class Device:
    """Memory of which there is enough for one."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a")

    def take(self) -> bool:
        """Take it; tell whether it was free."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def give(self) -> None:
        """Let others have it."""
        fcntl.flock(self._file, fcntl.LOCK_UN)


def is_held(path: Path) -> bool:
    """Tell whether somebody has the device."""
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
