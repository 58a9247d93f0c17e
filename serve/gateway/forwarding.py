"""Passes a request on and its answer back: recorded in full, reduced to what the client asked for.

An answer that is to be looked at first is held back until it is whole; one that does not pass is handed to whoever
may know a better one, with the means to send it all the same.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

import aiohttp
import orjson
from aiohttp import web

from serve.api.answers import Json
from serve.api.errors import error_body, rewritten
from serve.api.events import reduce_event, split_events
from serve.engines.engine import Engine, NotServing
from serve.gateway.entrance import BEGUN, answer_json
from serve.gateway.turn import Answerer, Ask

JSON_HEADERS = {"Content-Type": "application/json"}

MAX_ATTEMPTS = 3
"""Times a call is sent while connections break before anything of an answer came: an engine may close an idle one at
that moment, and where there are several replicas another can answer."""

CONNECTION_LOST = (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError)


class Unfit(Exception):
    """An answer that did not pass; nothing of it was sent."""

    def __init__(self, because: str, deliver: Callable[[], Awaitable[web.StreamResponse]], status: int = 200) -> None:
        super().__init__(because)
        self.because = because
        self.deliver = deliver
        """Sends it all the same."""

        self.status = status


async def forward(http: web.Request, ask: Ask) -> tuple[web.StreamResponse, str | None]:
    """Pass a request on and the answer back; return the response and what went wrong, if anything did."""
    for remaining in reversed(range(MAX_ATTEMPTS)):
        try:
            with place(ask.to, ask.sent) as url:
                return await _exchange(http, ask, url)
        except CONNECTION_LOST:
            if remaining == 0 or http.transport is None:
                raise
    raise AssertionError("the last attempt returns or raises")


async def _exchange(http: web.Request, ask: Ask, url: str) -> tuple[web.StreamResponse, str | None]:
    patience = asyncio.timeout(ask.patience_s)
    sent = ask.to.session.post(url + ask.path, data=ask.body, headers=JSON_HEADERS, allow_redirects=False)
    async with patience, sent as upstream:
        if upstream.status != 200:
            said = rewritten(await upstream.read(), upstream.status)
            refusal = answer_json(said, upstream.status, ask.headers)
            if ask.judge is not None and (because := _why_unanswered(ask, upstream.status, said)) is not None:
                raise Unfit(because, _as_it_is(refusal), upstream.status)
            return refusal, str(upstream.status)
        if upstream.content_type != "text/event-stream":
            answer = _read(ask, await upstream.read())
            patience.reschedule(None)
            response = answer_json(ask.api.strip(answer, ask.wants), headers=ask.headers)
            await _check(ask, _as_it_is(response))
            return response, None
        patience.reschedule(None)
        if ask.judge is not None and ask.holds_streams:
            return await _hold(http, ask, upstream), None
        return await _forward_stream(http, ask, upstream), None


def _why_unanswered(ask: Ask, status: int, said: Mapping[str, Any]) -> str | None:
    """Return why another might answer what this one refused; null where it is the request's own fault."""
    if ask.policy is None or status >= 500:
        return "failed"
    return "too_long" if said["error"]["code"] == "context_length_exceeded" else None


def _read(ask: Ask, content: bytes) -> Json:
    """Record an answer; raise what a broken connection raises where it is none."""
    try:
        answer: Json = orjson.loads(content)
        ask.api.read(ask.recording, answer)
    except (ValueError, TypeError, AttributeError, KeyError) as problem:
        if ask.policy is not None:
            raise  # an engine of ours: a bug
        raise aiohttp.ClientPayloadError("the answer has no shape of OpenAI's") from problem
    return answer


async def _check(ask: Ask, deliver: Callable[[], Awaitable[web.StreamResponse]]) -> None:
    if ask.judge is None:
        return
    if ask.judges_slowly and any(choice.tool_calls for choice in ask.recording.choices.values()):
        because = await asyncio.to_thread(ask.judge, ask.described, ask.recording)
    else:
        because = ask.judge(ask.described, ask.recording)
    if ask.recording.error is not None:
        because = "failed"
    if because is not None:
        raise Unfit(because, deliver)


def _as_it_is(response: web.Response) -> Callable[[], Awaitable[web.StreamResponse]]:
    async def deliver() -> web.StreamResponse:
        return response

    return deliver


async def _hold(http: web.Request, ask: Ask, upstream: aiohttp.ClientResponse) -> web.StreamResponse:
    held: list[bytes] = []
    async for events in split_events(upstream.content.iter_any()):
        held += [reduce_event(event, ask.api, ask.recording, ask.wants) for event in events]

    async def deliver() -> web.StreamResponse:
        response = await _open_stream(http, ask)
        await response.write(b"".join(held))
        await response.write_eof()
        return response

    await _check(ask, deliver)
    return await deliver()


async def _open_stream(http: web.Request, ask: Ask) -> web.StreamResponse:
    http[BEGUN] = True
    response = web.StreamResponse(
        headers={**ask.headers, "Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"}
    )
    await response.prepare(http)
    return response


async def _forward_stream(http: web.Request, ask: Ask, upstream: aiohttp.ClientResponse) -> web.StreamResponse:
    response = await _open_stream(http, ask)
    arrivals = split_events(upstream.content.iter_any())
    while True:
        try:
            events = await anext(arrivals, None)
        except aiohttp.ClientError:
            # The status line is long gone: the stream itself has to say that it did not end well.
            ask.recording.error = "engine_failed"
            event = b"data: " + orjson.dumps(error_body("the engine ended", 500)) + b"\n\n"
            await response.write(event)
            break
        if events is None:
            break
        # What came together goes on together: one write, not one for each token.
        if forwarded := b"".join([reduce_event(event, ask.api, ask.recording, ask.wants) for event in events]):
            await response.write(forwarded)
    await response.write_eof()
    return response


async def relay(
    http: web.Request, engine: Engine, url: str, body: bytes, headers: Mapping[str, str]
) -> web.StreamResponse:
    """Pass a request that samples nothing on, and the answer back as it comes."""
    async with engine.session.post(url, data=body, headers=JSON_HEADERS) as upstream:
        if upstream.status != 200:
            said = rewritten(await upstream.read(), upstream.status)
            return answer_json(said, upstream.status, dict(headers))
        kind = upstream.headers.get("Content-Type", "application/json")
        response = web.StreamResponse(status=upstream.status, headers={**headers, "Content-Type": kind})
        await response.prepare(http)
        async for piece in upstream.content.iter_any():
            await response.write(piece)
        await response.write_eof()
        return response


@contextlib.contextmanager
def place(to: Answerer, request: Mapping[str, Any]) -> Iterator[str]:
    """Yield the URL a call is to go to; raise `NotServing` where the engine was let go of since the call was let in."""
    if to.session.closed:
        raise NotServing("the engine ended", hint="Try again in a few seconds.")
    with to.place(request) as url:
        yield url
