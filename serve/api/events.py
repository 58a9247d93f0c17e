"""Server-sent events on their way through: cut where they end, recorded, and reduced to what the client asked for."""

from collections.abc import AsyncIterator

import orjson

from serve.api.answers import Recording, Wants
from serve.api.apis import Api


async def split_events(pieces: AsyncIterator[bytes]) -> AsyncIterator[list[bytes]]:
    """Yield the server-sent events each piece completes, blank lines included, however the bytes were cut."""
    held = b""
    async for piece in pieces:
        *events, held = (held + piece).split(b"\n\n")
        if events:
            yield [event + b"\n\n" for event in events]
    if held.strip():
        yield [held]


def reduce_event(event: bytes, api: Api, recording: Recording, wants: Wants) -> bytes:
    """Record one event of a stream and return what of it the client gets; nothing when nothing is left."""
    head, marker, payload = event.partition(b"data:")
    payload = payload.strip()
    if not marker or not (head == b"" or head.endswith(b"\n")) or payload == b"[DONE]":
        return event
    chunk = orjson.loads(payload)
    api.read(recording, chunk)
    reduced = api.strip(chunk, wants)
    return b"" if reduced is None else head + b"data: " + orjson.dumps(reduced) + b"\n\n"
