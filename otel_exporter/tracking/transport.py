"""Sees model calls where they leave the process: between an HTTP client of httpx or httpx2 and its transport.

Whatever is called on top of it (`create`, `parse`, `with_options`, copies, raw responses, streams) passes here, and
what it hands back is untouched: the bytes are read as they go by. Standard library only; httpx is never imported.
"""

import contextlib
import json
import os
import sys
import time
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from functools import cache
from typing import Any

from otel_exporter.tracking.streams import read_answer

MAX_BYTES = 32 << 20
"""Of a request or an answer; a larger one is recorded without its content."""

MARKS = (b'"messages"', b'"input"', b'"contents"', b'"prompt"')
QUESTIONS = ("messages", "input", "contents", "prompt")
"""Under one of these names every known model API has what the model is asked."""


class Exchange:
    """One request and what came of it, noted while it happens and read later by another thread."""

    def __init__(self, request: Any, headers: "dict[str, str]", finish: "Callable[[Exchange], None]") -> None:  # noqa: ANN401
        self.url = request.url
        self.request_body: bytes = request.content
        self.start_ns = time.time_ns()
        self.end_ns = 0
        self.status: int | None = None
        self.error: str | None = None
        self.is_whole = False
        self.pieces: list[bytes] = []
        self.size_bytes = 0
        self.headers = headers
        self._response: Any = None
        self._finish: Callable[[Exchange], None] | None = finish
        self._process = os.getpid()

    def begin_answer(self, response: Any) -> None:  # noqa: ANN401
        """Note the head of the answer."""
        self.status = response.status_code
        self._response = response

    def add(self, piece: bytes) -> None:
        """Note some bytes of the answer."""
        self.size_bytes += len(piece)
        if self.size_bytes <= MAX_BYTES:
            self.pieces.append(piece)

    def end(self, error: "BaseException | None" = None) -> None:
        """Say that nothing more comes. Only the first call counts, and none in a fork of the process that asked."""
        finish, self._finish = self._finish, None
        if finish is None or self._process != os.getpid():
            return
        self.end_ns = time.time_ns()
        self.is_whole = error is None
        if error is not None and not isinstance(error, GeneratorExit):
            self.error = type(error).__name__
        with contextlib.suppress(Exception):  # whatever goes wrong here is not the agent's
            finish(self)

    def question(self) -> "dict[str, Any] | None":
        """Return the request, where it asks a model something."""
        try:
            asked = json.loads(self.request_body)
        except ValueError:
            return None
        return asked if isinstance(asked, dict) and any(name in asked for name in QUESTIONS) else None

    def answer(self) -> "dict[str, Any] | None":
        """Return the answer as one object, a stream put together; None where there is none that can be read."""
        if self._response is None or self.size_bytes > MAX_BYTES:
            return None
        return read_answer(_inflated(self._response, b"".join(self.pieces)))


def _inflated(response: Any, body: bytes) -> bytes:  # noqa: ANN401
    """Return a body without its content encoding, by the library's own decoders; half of one where it ends early."""
    encoding = response.headers.get("content-encoding", "identity").lower()
    if encoding == "identity" or not body:
        return body
    if encoding in {"gzip", "deflate"}:
        for window in (zlib.MAX_WBITS | 32, -zlib.MAX_WBITS):
            with contextlib.suppress(zlib.error):
                return zlib.decompressobj(window).decompress(body)
        return b""
    library = sys.modules[type(response).__module__.partition(".")[0]]
    again = library.Response(200, headers={"content-encoding": encoding}, content=body)
    return bytes(again.content)


def looks_like_a_call(request: Any) -> bool:  # noqa: ANN401
    """Say whether a request may ask a model: a POST of JSON that has a question under a known name."""
    if request.method != "POST":
        return False
    try:
        body = request.content
    except Exception:  # noqa: BLE001 - a body that is itself a stream: an upload, not a question
        return False
    return len(body) <= MAX_BYTES and body[:1] in b"{ \n\r\t" and any(mark in body for mark in MARKS)


class _Transport:
    """What both kinds of transport share: everything but requests goes to the one inside."""

    def __init__(self, inner: Any, begin: "Callable[[Any], Exchange | None]") -> None:  # noqa: ANN401
        self.inner = inner
        self.begin = begin

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self.inner, name)


class SyncTransport(_Transport):
    """In front of a synchronous transport."""

    def __enter__(self) -> Any:  # noqa: ANN401
        self.inner.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self.inner.__exit__(*exception)

    def handle_request(self, request: Any) -> Any:  # noqa: ANN401
        """Pass a request on and listen to its answer."""
        exchange = self.begin(request)
        if exchange is None:
            return self.inner.handle_request(request)
        try:
            response = self.inner.handle_request(request)
        except BaseException as error:
            exchange.end(error)
            raise
        _listen(response, exchange, is_async=False)
        return response


class AsyncTransport(_Transport):
    """In front of an asynchronous transport."""

    async def __aenter__(self) -> Any:  # noqa: ANN401
        await self.inner.__aenter__()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.inner.__aexit__(*exception)

    async def handle_async_request(self, request: Any) -> Any:  # noqa: ANN401
        """Pass a request on and listen to its answer."""
        exchange = self.begin(request)
        if exchange is None:
            return await self.inner.handle_async_request(request)
        try:
            response = await self.inner.handle_async_request(request)
        except BaseException as error:
            exchange.end(error)
            raise
        _listen(response, exchange, is_async=True)
        return response


def _listen(response: Any, exchange: Exchange, *, is_async: bool) -> None:  # noqa: ANN401
    try:
        exchange.begin_answer(response)
        body = getattr(response, "_content", None)
        if isinstance(body, bytes):  # a transport that had the whole answer at once
            exchange.add(body)
            exchange.end()
            return
        library = type(response).__module__.partition(".")[0]
        response.stream = _listener(library, is_async=is_async)(response.stream, exchange)
    except Exception as error:  # noqa: BLE001 - the agent's answer goes on without us
        exchange.end(error)


@cache
def _listener(library: str, *, is_async: bool) -> Any:  # noqa: ANN401
    """Return the class of streams that a library's client accepts: it looks for its own base class."""
    module = sys.modules[library]
    if is_async:
        return type("ListenedAsyncStream", (_AsyncListener, module.AsyncByteStream), {})
    return type("ListenedStream", (_SyncListener, module.SyncByteStream), {})


class _SyncListener:
    def __init__(self, inner: Any, exchange: Exchange) -> None:  # noqa: ANN401
        self._inner, self._exchange = inner, exchange

    def __iter__(self) -> Iterator[bytes]:
        exchange = self._exchange
        try:
            for piece in self._inner:
                exchange.add(piece)
                yield piece
        except BaseException as error:
            exchange.end(error)
            raise
        exchange.end()

    def close(self) -> None:
        try:
            self._inner.close()
        finally:
            self._exchange.end(GeneratorExit())

    def __del__(self) -> None:
        self._exchange.end(GeneratorExit())


class _AsyncListener:
    def __init__(self, inner: Any, exchange: Exchange) -> None:  # noqa: ANN401
        self._inner, self._exchange = inner, exchange

    async def __aiter__(self) -> AsyncIterator[bytes]:
        exchange = self._exchange
        try:
            async for piece in self._inner:
                exchange.add(piece)
                yield piece
        except BaseException as error:
            exchange.end(error)
            raise
        exchange.end()

    async def aclose(self) -> None:
        try:
            await self._inner.aclose()
        finally:
            self._exchange.end(GeneratorExit())

    def __del__(self) -> None:
        self._exchange.end(GeneratorExit())


def wrap(client: Any, begin: "Callable[[Any], Exchange | None]") -> int:  # noqa: ANN401
    """Put a listener before every transport of the HTTP clients in an object; return how many have one now.

    The clients are found by what they have (`_transport` and `_mounts`), however deep the library keeps them.
    """
    num = 0
    for found in _http_clients(client):
        kind: Any = AsyncTransport if hasattr(found, "aclose") else SyncTransport
        mounts = found._mounts  # noqa: SLF001 - httpx has no public way to what its client sends through
        for pattern, mounted in list(mounts.items()):
            if mounted is not None and not isinstance(mounted, _Transport):
                mounts[pattern] = kind(mounted, begin)
        if not isinstance(found._transport, _Transport):  # noqa: SLF001
            found._transport = kind(found._transport, begin)  # noqa: SLF001
        num += 1
    return num


def _http_clients(start: Any, depth: int = 4) -> "list[Any]":  # noqa: ANN401
    found: list[Any] = []
    level, seen = [start], {id(start)}
    for _ in range(depth + 1):
        following = []
        for one in level:
            if hasattr(one, "_transport") and hasattr(one, "_mounts"):
                found.append(one)
                continue
            for value in list(getattr(one, "__dict__", {}).values()):
                if id(value) not in seen and hasattr(value, "__dict__") and not isinstance(value, type):
                    seen.add(id(value))
                    following.append(value)
        level = following
    return found
