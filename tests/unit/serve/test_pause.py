"""A pause: the engine is gone while it lasts, and back after it, whatever becomes of who asked for it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from foundation.errors import Busy
from serve.admission import Serving
from serve.change import registry
from serve.engines.engine import NotServing
from serve.evidence.delivery import Delivery
from serve.evidence.spans import Policy
from serve.server import Server
from serve.settings import ServeConfig
from tests.fakes import tiny_model
from tests.unit.serve.gateway.test_malformed import Counting


class Engine:
    """Ends when it is stopped, and does nothing else."""

    kind = provider = "fake"
    is_ours = True
    is_hung = False
    log = Path("engine.log")

    def __init__(self) -> None:
        self.gone = asyncio.Event()

    async def ended(self) -> None:
        await self.gone.wait()

    async def stop(self) -> None:
        self.gone.set()

    def exit_status(self) -> int:
        return 0


class Starter:
    """Starts such engines, and keeps them."""

    def __init__(self) -> None:
        self.engines: list[Engine] = []

    async def open(self, *_: object) -> Serving:
        self.engines.append(Engine())
        return Serving(self.engines[-1], "base", Policy("v", None, None))  # type: ignore[arg-type]

    async def prove(self, *_: object) -> None:
        pass


@contextlib.asynccontextmanager
async def serving(data: Path) -> AsyncIterator[tuple[Server, Starter]]:
    live = registry.initialise(data, tiny_model(data / "base", seed=0), "base")
    config = ServeConfig(data=data, engine="embedded", drain_timeout_s=0.05)
    evidence = Delivery(Counting(), None)
    server, starter = Server(config, live, "http://127.0.0.1:1", evidence, ()), Starter()
    server.starter = starter  # type: ignore[assignment]
    keeping = asyncio.create_task(server.keep_engine())
    await until(lambda: server.gateway.admission.serving is not None)
    try:
        yield server, starter
    finally:
        keeping.cancel()
        await asyncio.wait({keeping})
        evidence.close(1)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():
            await asyncio.sleep(0.005)


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(scenario())  # type: ignore[arg-type]


def test_the_engine_is_gone_until_the_pause_is_ended(tmp_path: Path) -> None:
    """Calls are turned away meanwhile, and another engine answers when `resume` returns."""

    async def scenario() -> None:
        async with serving(tmp_path) as (server, starter):
            pause, admission = server.changes.pause, server.gateway.admission
            await pause.begin({})
            await pause.begin({})  # again: it lasts so long from now on
            assert starter.engines[0].gone.is_set()
            with pytest.raises(NotServing):
                await admission.admitted().__aenter__()
            await pause.end({})
            assert [engine.gone.is_set() for engine in starter.engines] == [True, False]
            assert admission.serving is not None

    run(scenario)


def test_a_pause_nobody_ends_ends_by_itself(tmp_path: Path) -> None:
    """Whoever asked for it was killed."""

    async def scenario() -> None:
        async with serving(tmp_path) as (server, starter):
            await server.changes.pause.begin({"at_most_s": 0.01})
            await until(lambda: server.gateway.admission.serving is not None)
            assert len(starter.engines) == 2

    run(scenario)


def test_calls_that_do_not_end_keep_the_engine(tmp_path: Path) -> None:
    """The pause is refused, and calls are let in again."""

    async def scenario() -> None:
        async with serving(tmp_path) as (server, starter):
            async with server.gateway.admission.admitted():
                with pytest.raises(Busy, match="1 calls were still being answered"):
                    await server.changes.pause.begin({})
            assert not server.changes.pause.is_on
            assert server.gateway.admission.serving is not None
            assert not starter.engines[0].gone.is_set()

    run(scenario)
