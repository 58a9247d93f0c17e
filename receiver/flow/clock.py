"""The receiver's clock: instants of receipt that never run backwards, and whether the wall clock can be believed."""

import time
from collections.abc import Callable
from datetime import date

from receiver.days.files import day_of

TOLERANCE_S = 3600.0
"""How far the clock may move beside the time that passes before days are neither sealed nor removed by it."""


class Clock:
    """The wall clock of one process."""

    def __init__(self, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._now_ns = now_ns
        self._began = (now_ns() / 1e9, _uptime_s())
        self._last_received_ns = 0

    def receive(self) -> int:
        """Return the instant of receipt of a request. Called by one thread at a time."""
        self._last_received_ns = max(self._last_received_ns, self._now_ns())
        return self._last_received_ns

    def since_s(self, instant_ns: int) -> float:
        """Return the seconds that have passed since an instant, 0 where it lies ahead."""
        return max(0.0, (self._now_ns() - instant_ns) / 1e9)

    def today(self) -> date:
        """Return the UTC day."""
        return day_of(self._now_ns())

    @property
    def jumped_s(self) -> float:
        """Seconds the clock has moved beside the time that passed since the start; 0 within the tolerance."""
        began, began_uptime_s = self._began
        jumped_s = self._now_ns() / 1e9 - began - (_uptime_s() - began_uptime_s)
        return jumped_s if abs(jumped_s) > TOLERANCE_S else 0.0


def _uptime_s() -> float:
    """Return a time that no one sets, and that goes on while a laptop sleeps, as its clock does."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
