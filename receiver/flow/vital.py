"""Threads the receiver cannot do without, and errors told without a word of what was sent."""

import threading
import traceback
from collections.abc import Callable
from pathlib import Path

import duckdb

from foundation.errors import SpanloopError
from foundation.narration import get_logger

log = get_logger("receiver")


class VitalThread(threading.Thread):
    """A thread whose death stops the service: it is told of, once, and never passes in silence."""

    def __init__(self, target: Callable[[], None], *, name: str, on_death: Callable[[str], None]) -> None:
        super().__init__(name=name)
        self._work = target
        self._on_death = on_death

    def run(self) -> None:
        """Work until there is no more to do."""
        try:
            self._work()
        except BaseException as error:  # noqa: BLE001 - whatever it died of, the process must not go on as if it lived
            log.error(  # noqa: TRY400 - a traceback may quote what was sent
                "a thread the receiver needs has died", thread=self.name, **describe(error)
            )
            self._on_death(f"the thread {self.name} has died of {type(error).__name__}; a restart loses nothing")


def describe(error: BaseException) -> dict[str, str]:
    """Say what went wrong and where. Only a database's or a file system's own words: others may quote content."""
    frames = traceback.extract_tb(error.__traceback__)
    told = {"error": type(error).__name__}
    if frames:
        told["place"] = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}"
    if isinstance(error, OSError):
        told["reason"] = error.strerror or ""
    elif isinstance(error, duckdb.IOException | duckdb.FatalException | SpanloopError):
        told["reason"] = str(error).splitlines()[0]
    return told
