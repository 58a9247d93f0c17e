"""The embedded engine: OpenAI's API over a Transformers model, for laptops and tests where vLLM cannot run.

It speaks the part of vLLM's API the gateway passes on, with the same fields: exact token ids, log-probabilities of the
distribution that was sampled from, `prompt_logprobs`. What it cannot do it refuses; it never ignores a parameter that
would have changed the answer. Run by the gateway as `python -m serve.engines.embedded.server MODEL --uds
SOCKET`; it answers only on that socket.
"""

import argparse
import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import orjson
import torch
from aiohttp import web

from serve.api.answers import Json
from serve.api.bodies import read_object
from serve.engines.child import end_with_parent
from serve.engines.embedded.answers import answer_whole, read_job, stream_answer
from serve.engines.embedded.grammar import GrammarFailed
from serve.engines.embedded.models import Job, Sampler, UnknownModel
from serve.engines.embedded.responses import ResponseJob, read_response_job, response_events
from serve.engines.embedded.tokens import detokenize, tokenize

Understood = TypeVar("Understood")

MAX_BODY_BYTES = 64 << 20
BACKLOG = 4096
"""Connections that may wait to be taken: every call is one, and they come in bursts. The kernel's own limit
(net.core.somaxconn) holds too."""


def make_app(engine: Sampler) -> web.Application:
    """Return the engine's HTTP application."""
    app = web.Application(client_max_size=MAX_BODY_BYTES)
    app.add_routes(
        [
            web.get("/health", _health),
            web.post("/v1/chat/completions", _handler(engine, is_chat=True)),
            web.post("/v1/completions", _handler(engine, is_chat=False)),
            web.post("/v1/responses", _responses_handler(engine)),
            web.post("/tokenize", _tokens_handler(engine, tokenize)),
            web.post("/detokenize", _tokens_handler(engine, detokenize)),
            web.post("/load", _load_handler(engine)),
            web.post("/unload", _unload_handler(engine)),
        ]
    )
    return app


async def _health(_: web.Request) -> web.Response:
    return web.Response()


def _handler(engine: Sampler, *, is_chat: bool) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handle(http: web.Request) -> web.StreamResponse:
        async def read(request: Json) -> Job:
            return await engine.compile(read_job(engine, request, is_chat=is_chat))

        job = await _understand(http, read)
        if isinstance(job, web.Response):
            return job
        if not job.stream:
            try:
                return _json(await answer_whole(engine, job))
            except GrammarFailed as error:
                return _error(error)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(http)
        try:
            async with contextlib.aclosing(stream_answer(engine, job)) as chunks:
                async for chunk in chunks:
                    await response.write(b"data: " + orjson.dumps(chunk) + b"\n\n")
        except GrammarFailed as error:
            await response.write(b"data: " + orjson.dumps(_error_body(error)) + b"\n\n")
        await response.write(b"data: [DONE]\n\n")
        return response

    return handle


def _responses_handler(engine: Sampler) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handle(http: web.Request) -> web.StreamResponse:
        async def read(request: Json) -> ResponseJob:
            job = read_response_job(engine, request)
            return replace(job, chat=await engine.compile(job.chat))

        job = await _understand(http, read)
        if isinstance(job, web.Response):
            return job
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        if job.chat.stream:
            await response.prepare(http)
        try:
            async with contextlib.aclosing(response_events(engine, job)) as events:
                async for event in events:
                    if job.chat.stream:
                        await response.write(_event(event))
        except GrammarFailed as error:
            if not job.chat.stream:
                return _error(error)
            await response.write(_event({"type": "error", **_error_body(error)["error"]}))
            return response
        # The last event holds the whole answer.
        return response if job.chat.stream else _json(event["response"])

    return handle


def _tokens_handler(
    engine: Sampler, answer: Callable[[Sampler, Json], Json]
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handle(http: web.Request) -> web.StreamResponse:
        async def read(request: Json) -> Json:
            return answer(engine, request)

        answered = await _understand(http, read)
        return answered if isinstance(answered, web.Response) else _json(answered)

    return handle


async def _understand(http: web.Request, read: Callable[[Json], Awaitable[Understood]]) -> Understood | web.Response:
    """Return what is read from a request's body, or the refusal of one that cannot be."""
    try:
        return await read(read_object(await http.read()))
    except UnknownModel as error:
        return _error(error, status=404)
    except ValueError as error:
        return _error(error)
    except (TypeError, KeyError, AttributeError, IndexError, OverflowError, RecursionError) as error:
        # Nothing but the request was read, so it is the request that is odd.
        return _error(ValueError(f"the request is malformed ({type(error).__name__})"))


def _load_handler(engine: Sampler) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(http: web.Request) -> web.Response:
        request = await http.json()
        try:
            return _json({"ok": True, "dtype": await engine.load(Path(request["path"]), request["name"])})
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it, the weights from before are still there
            return _json({"ok": False, "error": f"{type(error).__name__}: {error}"})

    return handle


def _unload_handler(engine: Sampler) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(http: web.Request) -> web.Response:
        engine.unload((await http.json())["name"])
        return _json({"ok": True})

    return handle


def _json(body: object, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(body), content_type="application/json", status=status)


def _event(event: Json) -> bytes:
    return f"event: {event['type']}\ndata: ".encode() + orjson.dumps(event) + b"\n\n"


def _error(error: ValueError, status: int = 400) -> web.Response:
    return _json(_error_body(error, status), status)


def _error_body(error: ValueError, status: int = 400) -> Json:
    param = getattr(error, "param", None)
    return {"error": {"message": str(error), "type": "BadRequestError", "param": param, "code": status}}


async def _serve(arguments: argparse.Namespace) -> None:
    engine = Sampler(arguments.model, arguments.name)
    runner = web.AppRunner(make_app(engine), handler_cancellation=True, access_log=None)
    await runner.setup()
    engine.start()
    await web.UnixSite(runner, arguments.uds, backlog=BACKLOG).start()
    await engine.failed()  # else until SIGTERM; the gateway starts another where this one ends


def main() -> None:
    """Serve one model on a Unix socket until told to stop."""
    end_with_parent()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--uds", required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    # One thread a forward pass: a step of a small model is too short to be worth sharing out.
    torch.set_num_threads(arguments.threads)
    asyncio.run(_serve(arguments))


if __name__ == "__main__":
    main()
