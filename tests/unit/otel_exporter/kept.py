"""A sender that sends nothing."""

from collections.abc import Callable
from typing import Any

Record = dict[str, Any]


class Kept:
    """A sender that sends nothing and keeps everything."""

    stage = None

    def __init__(self) -> None:
        self.spans: list[Record] = []
        self.logs: list[Record] = []

    def put(self, signal: str, _: int, make: Callable[[], Record]) -> None:
        (self.spans if signal == "traces" else self.logs).append(make())
