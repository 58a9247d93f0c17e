"""An engine that ends, in every way it can, and what the gateway does about it; no engine is started."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from foundation.errors import GateRefused
from serve.admission import Serving
from serve.change import registry
from serve.engines.engine import EngineFailed
from serve.evidence.delivery import Delivery
from serve.evidence.sending import Outcome, Sender, Verdict
from serve.evidence.spans import Policy
from serve.server import MAX_RESTARTS, Server
from serve.settings import ServeConfig


class Nowhere(Sender):
    endpoint = "http://127.0.0.1:4317"

    def send(self, _: bytes, __: str | None) -> Outcome:
        return Outcome(Verdict.TAKEN)

    def close(self) -> None:
        """Hold nothing."""


class Stub:
    """An engine that runs until a test ends it."""

    kind = provider = "stub"
    name = "base"
    log = Path("engine.log")
    is_hung = False
    is_ours = True

    def __init__(self) -> None:
        self.over = asyncio.Event()
        self.is_stopped = False

    async def sleep(self) -> bool:
        return False

    async def ended(self) -> None:
        await self.over.wait()

    def exit_status(self) -> int | None:
        return 1 if self.over.is_set() else None

    def is_running(self) -> bool:
        return not self.over.is_set()

    async def stop(self) -> None:
        self.is_stopped = True
        self.over.set()


class Bench:
    """A server whose starter gives stubs, and fails as often as it is told to."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        model = tmp_path / "model"
        model.mkdir()
        (model / "config.json").write_text("{}")
        (model / "model.safetensors").write_bytes(b"weights")
        live = registry.initialise(tmp_path, model, "base")
        self.evidence = Delivery(Nowhere(), None)
        self.server = Server(ServeConfig(data=tmp_path, engine="embedded"), live, "http://here", self.evidence, ())
        self.failures: list[Exception] = []
        self.unproved: Exception | None = None
        self.engines: list[Stub] = []
        self.pauses_s: list[float] = []
        self.server.starter.open = self._open  # type: ignore[method-assign]
        self.server.starter.prove = self._prove  # type: ignore[method-assign]
        sleep = asyncio.sleep

        async def note(delay_s: float) -> None:
            self.pauses_s.append(delay_s)
            await sleep(0)

        monkeypatch.setattr("serve.server.asyncio.sleep", note)
        self._sleep = sleep

    async def _open(self, _: Path, log_name: str) -> Serving:
        assert log_name == "engine.log"
        if self.failures:
            raise self.failures.pop(0)
        self.engines.append(Stub())
        return self.serving(self.engines[-1])

    async def _prove(self, *_: object) -> None:
        if self.unproved is not None:
            raise self.unproved

    @staticmethod
    def serving(engine: Stub) -> Serving:
        return Serving(engine, "base", Policy("v1", None, None))  # type: ignore[arg-type]

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not holds():
                await self._sleep(0)

    def run(self, scenario: Callable[[], Awaitable[None]], *, keeps: bool = True) -> None:
        """Run a scenario while the server keeps its engine."""

        async def main() -> None:
            keeping = asyncio.create_task(self.server.keep_engine()) if keeps else None
            try:
                await scenario()
            finally:
                if keeping is not None:
                    keeping.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await keeping

        asyncio.run(main())
        self.evidence.close(1)

    def answers(self, number: int) -> bool:
        """Tell whether so many engines were started, and calls go to the last."""
        serving = self.server.gateway.admission.serving
        return serving is not None and len(self.engines) == number and serving.engine is self.engines[-1]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch)


@pytest.mark.parametrize("is_hung", [False, True])
def test_an_engine_that_ends_or_hangs_is_replaced(bench: Bench, is_hung: bool) -> None:
    """It is stopped first, for it may hold the device still; at the end nothing is left running."""

    async def scenario() -> None:
        await bench.until(lambda: bench.answers(1))
        bench.engines[0].is_hung = is_hung
        bench.engines[0].over.set()
        await bench.until(lambda: bench.answers(2))
        assert bench.engines[0].is_stopped

    bench.run(scenario)
    assert all(engine.is_stopped for engine in bench.engines)
    assert bench.server.gateway.admission.serving is None


def test_one_that_has_taken_over_is_kept_in_its_place(bench: Bench) -> None:
    """The end of the one before, which a change stopped, starts nothing; the end of the new one does."""

    async def scenario() -> None:
        await bench.until(lambda: bench.answers(1))
        other = Stub()
        bench.server.gateway.admission.begin(bench.serving(other))
        await bench.engines[0].stop()
        for _ in range(20):
            await bench._sleep(0)
        assert len(bench.engines) == 1
        other.over.set()
        await bench.until(lambda: bench.answers(2))
        assert other.is_stopped

    bench.run(scenario)


def test_while_it_is_paused_no_engine_is_started(bench: Bench) -> None:
    """Another program has the device; after the pause one is."""

    async def scenario() -> None:
        await bench.until(lambda: bench.answers(1))
        await bench.server.changes.pause.begin({})
        for _ in range(20):
            await bench._sleep(0)
        assert (await bench.server.status({}))["is_paused"]
        assert len(bench.engines) == 1
        bench.server.changes.pause._finish()
        await bench.until(lambda: bench.answers(2))

    bench.run(scenario)


def test_starts_that_fail_are_tried_again_ever_more_slowly_and_given_up(bench: Bench) -> None:
    """The first of all is given up at once: whoever starts a gateway wants to read why."""

    async def scenario() -> None:
        bench.failures = [EngineFailed("no memory")]
        with pytest.raises(EngineFailed, match="no memory"):
            await bench.server.keep_engine()
        bench.failures = [EngineFailed(f"number {number}") for number in range(MAX_RESTARTS + 1)]
        bench.pauses_s = []
        with pytest.raises(EngineFailed, match=f"number {MAX_RESTARTS - 1}"):
            await bench.server._start_until_it_does(MAX_RESTARTS)
        assert bench.pauses_s == [0, 1, 3, 7, 15]

    bench.run(scenario, keeps=False)


def test_beside_a_hosted_model_a_start_is_never_given_up(bench: Bench) -> None:
    """Calls are answered meanwhile; half a minute is the longest between two."""

    async def scenario() -> None:
        bench.server.gateway.second = object()  # type: ignore[assignment]
        bench.failures = [EngineFailed("no memory")] * (2 * MAX_RESTARTS)
        await bench.server._start_until_it_does(1)
        assert bench.answers(1)
        assert max(bench.pauses_s) == 30

    bench.run(scenario, keeps=False)


def test_what_is_not_an_engines_failure_is_not_tried_again(bench: Bench) -> None:
    """Other weights than recorded stay other weights: the engine is stopped, and no call let in."""

    async def scenario() -> None:
        bench.unproved = GateRefused("not these weights")
        with pytest.raises(GateRefused):
            await bench.server._start_until_it_does(MAX_RESTARTS)
        assert [engine.is_stopped for engine in bench.engines] == [True]
        assert bench.server.gateway.admission.serving is None

    bench.run(scenario, keeps=False)


def test_status_is_told_before_anything_answers(bench: Bench) -> None:
    """With what is missing said as null, for a page that asks at once."""
    found: dict[str, Any] = {}

    async def scenario() -> None:
        found.update(await bench.server.status({}))

    bench.run(scenario, keeps=False)
    assert (found["is_ready"], found["serving_version"], found["canary"], found["fallback"]) == (False,) + (None,) * 3
    assert (found["num_in_flight"], found["num_fallback"], found["prompts"]) == (0, 0, {})
    assert found["registry"]["live_version"].startswith("model-")
