"""Bodies of HTTP requests: read with a bound on time and memory, and inflated with a bound on what comes out."""

import asyncio
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
from aiohttp import web

from receiver.decode.refusals import Overloaded, TooLarge, Undecodable

BODY_PATIENCE_S = 60.0
"""How long a client may take to send one body."""

NUM_INFLATING = 4
"""Bodies inflated at once; each may grow to the largest request."""

MAX_MEMBERS = 10_000
"""Most gzip members of a body: each costs some 10 µs, however little is in it."""

FIRST_PIECE_BYTES, MOST_PIECE_BYTES = 64, 1 << 20
"""What is inflated in one call, of a member."""


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
        encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding in ("identity", ""):
            return body
        inflate = INFLATERS.get(encoding)
        if inflate is None:
            raise UnknownEncoding(f"content encoding {encoding[:40]} is not known; {', '.join(INFLATERS)} are")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._inflating, inflate, body, self._max_request_bytes)


class UnknownEncoding(Undecodable):
    """The body is compressed in a way that is not known here."""


def inflate_zlib(body: bytes, limit: int) -> bytes:
    """Inflate gzip (of up to `MAX_MEMBERS` members) or zlib data, at most to the limit."""
    view = memoryview(body)
    parts: list[bytes] = []
    size = offset = 0
    for _ in range(MAX_MEMBERS):
        inflater = zlib.decompressobj(zlib.MAX_WBITS | 32)
        step = FIRST_PIECE_BYTES  # small first: what is left over of a piece is copied at the end of every member
        while not inflater.eof:
            piece = view[offset : offset + step]
            if not piece:
                raise Undecodable("the body cannot be inflated: it is cut short")
            try:
                part = inflater.decompress(piece, limit - size + 1)
            except zlib.error as error:
                raise Undecodable(f"the body cannot be inflated: {error}") from None
            size += len(part)
            if size > limit or inflater.unconsumed_tail:
                raise TooLarge
            parts.append(part)
            offset += len(piece)
            step = min(4 * step, MOST_PIECE_BYTES)
        offset -= len(inflater.unused_data)
        if offset == len(body):
            return b"".join(parts)
    raise Undecodable(f"the body cannot be inflated: it has more than {MAX_MEMBERS} members")


def inflate_zstd(body: bytes, limit: int) -> bytes:
    """Inflate Zstandard data of any number of frames, at most to the limit."""
    parts: list[bytes] = []
    size = 0
    try:
        with pa.CompressedInputStream(pa.BufferReader(body), "zstd") as stream:
            while part := stream.read(MOST_PIECE_BYTES):
                size += len(part)
                if size > limit:
                    raise TooLarge
                parts.append(part)
    except (pa.ArrowException, OSError) as error:
        raise Undecodable(f"the body cannot be inflated: {str(error)[:80]}") from None
    return b"".join(parts)


INFLATERS: dict[str, Callable[[bytes, int], bytes]] = {
    "gzip": inflate_zlib,
    "deflate": inflate_zlib,
    "zstd": inflate_zstd,
}
