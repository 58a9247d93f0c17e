"""Whether a request can be taken now: room in the backlog, and room on the disk for all that waits."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

from foundation.narration import get_logger
from receiver.decode.refusals import Overloaded
from receiver.log.disk import Disk
from receiver.store import reserve

log = get_logger("receiver")

HOLD_S = 2.0
"""How long a request is held back for a place in the backlog before it is refused."""

WARN_EVERY_S = 60.0
"""How often a full disk is narrated, at most."""


class Admission:
    """Counts the bytes taken and not yet shown to queries, and refuses what would be too much.

    `changed` is notified whenever room may have come free; `landing_bytes` says what waits to land.
    """

    def __init__(
        self,
        data: Path,
        disk: Disk,
        *,
        max_backlog_bytes: int,
        reserve_bytes: int,
        changed: threading.Condition,
        landing_bytes: Callable[[], int],
    ) -> None:
        self._data = data
        self._disk = disk
        self._max_backlog_bytes = max_backlog_bytes
        self._changed = changed
        self._landing_bytes = landing_bytes
        self._pending_bytes = 0
        self._refused_bytes = 0
        self._next_warning = 0.0
        self.reserve_bytes = reserve.reserve_bytes(disk.space(data), reserve_bytes)

    @property
    def backlog_bytes(self) -> int:
        """Bytes taken but not yet landed."""
        return self._pending_bytes + self._landing_bytes()

    @property
    def free_bytes(self) -> int:
        """Free space of the disk below DATA."""
        return self._disk.space(self._data).free_bytes

    @property
    def refusal(self) -> str | None:
        """Why requests are refused until somebody does something about it; None while they are taken.

        The disk is full as long as it has no room for one such as the last that it had no room for.
        """
        return None if self._has_disk_room(self._refused_bytes) else self._full_disk

    def admit(self, size_bytes: int) -> None:
        """Take so many bytes into the backlog. The caller holds `changed`. Raises `Overloaded`."""
        if not self._has_disk_room(size_bytes):
            self._refused_bytes = size_bytes
            self._warn_of_full_disk()
            raise Overloaded(self._full_disk)
        if not self._changed.wait_for(lambda: self._has_room(size_bytes), timeout=HOLD_S):
            raise Overloaded("the backlog is full")
        self._pending_bytes += size_bytes

    def settle(self, size_bytes: int) -> None:
        """Give bytes back: what they stand for has moved on, or was not kept. The caller holds `changed`."""
        self._pending_bytes -= size_bytes
        self._changed.notify_all()

    def _has_room(self, size_bytes: int) -> bool:
        taken = self.backlog_bytes
        return taken == 0 or taken + size_bytes <= self._max_backlog_bytes

    def _has_disk_room(self, size_bytes: int) -> bool:
        return reserve.has_room(
            self._disk.space(self._data),
            waiting_bytes=self.backlog_bytes,
            size_bytes=size_bytes,
            reserve_bytes=self.reserve_bytes,
        )

    @property
    def _full_disk(self) -> str:
        return f"the disk is full: {self.reserve_bytes >> 20} MiB of it are kept for what was taken"

    def _warn_of_full_disk(self) -> None:
        if time.monotonic() >= self._next_warning:
            self._next_warning = time.monotonic() + WARN_EVERY_S
            log.warning("the disk is full; requests are refused until there is room", free_bytes=self.free_bytes)
