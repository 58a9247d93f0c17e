"""A gateway over a real socket, in front of an engine of cardboard that says what it is told."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
from aiohttp import web
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from serve.admission import Serving
from serve.evidence.spans import Policy
from serve.gateway.endpoint import Gateway
from serve.sampling import NEUTRAL
from tests.serving import CardboardEngine

USER = [{"role": "user", "content": "hello"}]
ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "model": "base",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "hi"},
            "logprobs": {"content": [{"token": "hi", "logprob": -0.5, "bytes": [], "top_logprobs": []}]},
            "finish_reason": "stop",
            "token_ids": [7],
        }
    ],
    "prompt_token_ids": [1, 2],
}


def event(token_id: int, delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
    logprobs = {"content": [{"token": "x", "logprob": -0.5, "bytes": [], "top_logprobs": []}]}
    choice = {"index": 0, "delta": delta, "token_ids": [token_id], "logprobs": logprobs, "finish_reason": finish_reason}
    return b"data: " + json.dumps({"id": "chatcmpl-1", "choices": [choice]}).encode() + b"\n\n"


STREAM = [event(7, {"content": "a"}), event(8, {}), event(9, {"content": "b"}, "stop"), b"data: [DONE]\n\n"]


class Bench:
    """A gateway, the engine behind it and the spans it leaves."""

    def __init__(self, engine: CardboardEngine) -> None:
        self.engine = engine
        self.memory = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self.memory))
        self.gateway = Gateway("base", NEUTRAL, provider.get_tracer("t"))
        self.gateway.admission.begin(Serving(engine, "base", Policy("v1", None, None)))  # type: ignore[arg-type]
        self.url = ""
        self.client: aiohttp.ClientSession

    async def ask(self, path: str = "chat/completions", **request: Any) -> tuple[int, Any, aiohttp.ClientResponse]:
        body = {"model": "base:live", "messages": USER, **request}
        return await self.post(f"/v1/{path}", body)

    async def post(self, path: str, body: Any, **headers: str) -> tuple[int, Any, aiohttp.ClientResponse]:
        async with self.client.post(f"{self.url}{path}", json=body, headers=headers) as response:
            content = await response.read()
            is_json = response.content_type == "application/json"
            return response.status, json.loads(content) if is_json else content, response

    async def spans(self, count: int = 1) -> list[ReadableSpan]:
        """Wait until the spans are there: they are made after the answer has left."""
        while len(self.memory.get_finished_spans()) < count:
            await asyncio.sleep(0.01)
        return list(self.memory.get_finished_spans())


@contextlib.asynccontextmanager
async def bench() -> AsyncIterator[Bench]:
    async with CardboardEngine().running() as engine:
        engine.answer, engine.events = ANSWER, STREAM
        one = Bench(engine)
        runner = web.AppRunner(one.gateway.make_app(), handler_cancellation=True)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        one.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        async with aiohttp.ClientSession() as one.client:
            yield one
        await runner.cleanup()


def run(scenario: Callable[[Bench], Awaitable[None]]) -> None:
    async def main() -> None:
        async with bench() as one:
            await scenario(one)

    asyncio.run(asyncio.wait_for(main(), 30))
