"""Server-sent events on their way through: cut where they end, recorded, and reduced to what the client asked for."""

import re
from collections.abc import AsyncIterator

import orjson

from serve.api.answers import Recording, Wants
from serve.api.apis import Api

BLANK_LINE = re.compile(rb"(\r\n\r\n|\n\n|\r\r(?!\n))")
"""What ends an event, whichever of the three line ends a server writes (WHATWG HTML, 9.2.5)."""


async def split_events(pieces: AsyncIterator[bytes]) -> AsyncIterator[list[bytes]]:
    """Yield the server-sent events each piece completes, blank lines included, however the bytes were cut."""
    held = b""
    async for piece in pieces:
        *parts, held = BLANK_LINE.split(held + piece)
        if parts:
            # split() with a group: event, its blank line, event, its blank line
            yield [event + end for event, end in zip(parts[::2], parts[1::2], strict=True)]
    if held.strip():
        yield [held]


def reduce_event(event: bytes, api: Api, recording: Recording, wants: Wants) -> bytes:
    """Record one event of a stream and return what of it the client gets; nothing when nothing is left."""
    head, marker, payload = event.partition(b"data:")
    payload = payload.strip()
    if not marker or not (head == b"" or head.endswith(b"\n")) or payload == b"[DONE]":
        return event
    try:
        chunk = orjson.loads(payload)
    except orjson.JSONDecodeError:
        return event
    if not isinstance(chunk, dict):
        return event
    api.read(recording, chunk)
    reduced = api.strip(chunk, wants)
    return b"" if reduced is None else head + b"data: " + orjson.dumps(reduced) + b"\n\n"
