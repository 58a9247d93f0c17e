"""Reads the requests of a conversation without reading again what an earlier one of them held already.

A request commonly is the text of the one before it with a few messages more at its end: without this, the time that
reading a conversation takes grows with the square of its turns.
"""

from collections import deque
from collections.abc import Callable
from typing import Any

import orjson

from etl.dialects.shapes.json_values import loads
from etl.dialects.shapes.messages.canonical import canonical_input
from etl.dialects.spans import Message

RECENT = 8
"""How many requests are remembered: as many agents may take turns in a trace, whose spans are read as they began."""


class Requests:
    """The requests read lately, each as its text up to the closing bracket and its messages."""

    def __init__(self, read: Callable[[list[Any], list[Message]], list[Message] | None] = canonical_input) -> None:
        self._read = read
        self._recent: deque[tuple[str, list[Message]]] = deque(maxlen=RECENT)

    def read(self, text: str) -> list[Message] | None:
        """Read the text of a JSON array of messages, in whatever shape; None where it is no such text.

        Messages are shared with the requests they were read for first, so nobody may change them in place.
        """
        if not text.startswith("[") or not text.endswith("]"):
            return None
        beginning, before = next((known for known in self._recent if text.startswith(known[0])), ("", []))
        added = text[len(beginning) :]
        if added == "]":
            return [*before]
        if beginning and not added.startswith(","):
            beginning, before, added = "", [], text
        try:
            items = loads(("[" + added[1:]) if beginning else text)
        except orjson.JSONDecodeError:
            return None
        if beginning and not items:
            return None  # a comma that nothing follows
        messages = self._read(items, before) if items else before
        if messages is None:
            return None
        if items and messages:
            self._recent.appendleft((text[:-1], messages))
        return [*messages]
