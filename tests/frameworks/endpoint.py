"""The gateway before the scripted server, so that an example's calls leave token ids."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
from aiohttp import web
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_exporter.schema import GATEWAY_SCOPE
from serve.admission import Serving
from serve.evidence.spans import Policy
from serve.gateway.endpoint import Gateway
from serve.sampling import NEUTRAL
from tests.frameworks.scripted import Truth
from tests.serving import CardboardEngine


@contextmanager
def gateway(model: str, truth: Truth) -> Iterator[str]:
    """Answer for a model on a free loopback port until the block ends; then its spans are among the exports."""
    memory = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(memory))
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def start() -> tuple[web.AppRunner, aiohttp.ClientSession]:
        engine = CardboardEngine()
        engine.url, engine.session = truth.url, aiohttp.ClientSession()
        one = Gateway(model, NEUTRAL, provider.get_tracer(GATEWAY_SCOPE))
        one.admission.begin(Serving(engine, model, Policy("v1", None, None)))  # type: ignore[arg-type]
        runner = web.AppRunner(one.make_app())
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return runner, engine.session

    async def stop(runner: web.AppRunner, session: aiohttp.ClientSession) -> None:
        await runner.cleanup()
        await session.close()

    runner, session = asyncio.run_coroutine_threadsafe(start(), loop).result(30)
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        asyncio.run_coroutine_threadsafe(stop(runner, session), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        loop.close()
        truth.exports.append(("/v1/traces", encode_spans(memory.get_finished_spans()).SerializeToString()))
