"""A pause: the engine is gone while it lasts, and back after it, whatever becomes of who asked for it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from foundation.errors import Busy, SettingsError
from serve.admission import Serving
from serve.change import registry
from serve.engines.engine import EngineFailed, NotServing
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

    def __init__(self, *, sleeps: bool = False, wakes: bool = True) -> None:
        self.gone = asyncio.Event()
        self.sleeps = sleeps
        self.wakes = wakes
        self.is_asleep = False

    async def sleep(self) -> bool:
        self.is_asleep = self.sleeps
        return self.sleeps

    async def wake(self) -> None:
        assert self.is_asleep
        if not self.wakes:
            raise EngineFailed("no memory")
        self.is_asleep = False

    async def ended(self) -> None:
        await self.gone.wait()

    async def stop(self) -> None:
        self.gone.set()

    def exit_status(self) -> int:
        return 0


class Starter:
    """Starts such engines, and keeps them."""

    def __init__(self, first: Engine) -> None:
        self._first = first
        self.engines: list[Engine] = []
        self.proved: list[object] = []

    async def open(self, *_: object) -> Serving:
        self.engines.append(Engine() if self.engines else self._first)
        return Serving(self.engines[-1], "base", Policy("v", None, None))  # type: ignore[arg-type]

    async def prove(self, serving: Serving, _: object) -> None:
        self.proved.append(serving.engine)


@contextlib.asynccontextmanager
async def serving(data: Path, first: Engine | None = None) -> AsyncIterator[tuple[Server, Starter]]:
    live = registry.initialise(data, tiny_model(data / "base", seed=0), "base")
    config = ServeConfig(data=data, engine="embedded", drain_timeout_s=0.05)
    evidence = Delivery(Counting(), None)
    server, starter = Server(config, live, "http://127.0.0.1:1", evidence, ()), Starter(first or Engine())
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


@pytest.mark.parametrize("ends_by_itself", [False, True])
def test_an_engine_that_can_sleep_sleeps_and_wakes(tmp_path: Path, *, ends_by_itself: bool) -> None:
    """It is not started anew; it is proved before calls reach it, however the pause ends."""

    async def scenario() -> None:
        async with serving(tmp_path, Engine(sleeps=True)) as (server, starter):
            pause, admission = server.changes.pause, server.gateway.admission
            await pause.begin({"at_most_s": 0.05 if ends_by_itself else 60})
            assert starter.engines[0].is_asleep
            with pytest.raises(NotServing):
                await admission.admitted().__aenter__()
            if not ends_by_itself:
                await pause.end({})
            await until(lambda: admission.serving is not None)
            (engine,) = starter.engines
            assert not engine.is_asleep
            assert not engine.gone.is_set()
            assert starter.proved == [engine, engine]

    run(scenario)


def test_an_engine_that_does_not_wake_is_started_again(tmp_path: Path) -> None:
    """Somebody else may have taken its memory meanwhile."""

    async def scenario() -> None:
        async with serving(tmp_path, Engine(sleeps=True, wakes=False)) as (server, starter):
            await server.changes.pause.begin({})
            await server.changes.pause.end({})
            assert [engine.gone.is_set() for engine in starter.engines] == [True, False]

    run(scenario)


def test_an_engine_that_dies_in_its_sleep_is_started_again_after_it(tmp_path: Path) -> None:
    """And not before: the device is not the gateway's."""

    async def scenario() -> None:
        async with serving(tmp_path, Engine(sleeps=True)) as (server, starter):
            await server.changes.pause.begin({})
            starter.engines[0].wakes = False
            starter.engines[0].gone.set()
            await asyncio.sleep(0)
            assert len(starter.engines) == 1
            await server.changes.pause.end({})
            assert len(starter.engines) == 2

    run(scenario)


def test_replicas_elsewhere_that_do_not_sleep_are_not_paused(tmp_path: Path) -> None:
    """Nobody here could start them again."""

    async def scenario() -> None:
        engine = Engine()
        engine.is_ours = False
        async with serving(tmp_path, engine) as (server, starter):
            with pytest.raises(SettingsError, match="does not sleep"):
                await server.changes.pause.begin({})
            assert server.gateway.admission.serving is not None
            assert not starter.engines[0].gone.is_set()

    run(scenario)
