"""Bodies of HTTP requests: read with a bound on time and memory, and inflated with a bound on what comes out."""

import asyncio
import zlib
from concurrent.futures import ThreadPoolExecutor

from aiohttp import web

from receiver.decode.otlp import Undecodable
from receiver.pipeline import Overloaded

BODY_PATIENCE_S = 60.0
"""How long a client may take to send one body."""

NUM_INFLATING = 4
"""Bodies inflated at once; each may grow to the largest request."""


class TooLarge(Exception):
    """A request is larger than allowed, before or after inflation."""


class BodyReader:
    """Reads bodies for one server. All that are being read hold at most `max_held_bytes` together."""

    def __init__(self, *, max_request_bytes: int, max_held_bytes: int) -> None:
        self._max_request_bytes = max_request_bytes
        self._max_held_bytes = max_held_bytes
        self._held_bytes = 0
        self._inflating = ThreadPoolExecutor(NUM_INFLATING, thread_name_prefix="receiver-inflate")

    def close(self) -> None:
        """End the threads."""
        self._inflating.shutdown(wait=False)

    async def read(self, request: web.Request) -> bytes:
        """Return a body, inflated.

        Raises `TooLarge`, `Undecodable` for what cannot be inflated, and `Overloaded` when the client is too slow or
        too many large bodies arrive at once: what was received counts, not what was announced, so that clients who
        promise much and send little hold nobody up.
        """
        limit = self._max_request_bytes
        if request.content_length is not None and request.content_length > limit:
            raise TooLarge
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(BODY_PATIENCE_S):
                async for part in request.content.iter_any():
                    size += len(part)
                    self._held_bytes += len(part)
                    if size > limit:
                        raise TooLarge
                    if self._held_bytes > self._max_held_bytes:
                        raise Overloaded("too much is being received at once")
                    parts.append(part)
            return await self._inflate(request, b"".join(parts))
        except TimeoutError:
            raise Overloaded(f"the body did not arrive within {BODY_PATIENCE_S:g} s") from None
        finally:
            self._held_bytes -= size

    async def _inflate(self, request: web.Request, body: bytes) -> bytes:
        match request.headers.get("Content-Encoding", "identity").lower():
            case "identity" | "":
                return body
            case "gzip" | "deflate":
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(self._inflating, inflate, body, self._max_request_bytes)
            case other:
                raise Undecodable(f"content encoding {other} is not known; gzip is")


def inflate(body: bytes, limit: int) -> bytes:
    """Inflate gzip (of any number of members) or zlib data, at most to the limit."""
    parts: list[bytes] = []
    size = 0
    while body:
        inflater = zlib.decompressobj(zlib.MAX_WBITS | 32)
        try:
            part = inflater.decompress(body, limit - size + 1)
        except zlib.error as error:
            raise Undecodable(f"the body cannot be inflated: {error}") from None
        size += len(part)
        if size > limit or inflater.unconsumed_tail:
            raise TooLarge
        if not inflater.eof:
            raise Undecodable("the body cannot be inflated: it is cut short")
        parts.append(part)
        body = inflater.unused_data
    return b"".join(parts)
