"""Changes of what is live, on an engine that says what the weights it was given would say."""

import asyncio
import contextlib
import errno
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.trace import NoOpTracer

from serve.admission import Serving
from serve.change import behavior, registry
from serve.change.policy import describe_policy
from serve.changes import Changes
from serve.engines.engine import EngineFailed
from serve.gateway.endpoint import Gateway
from serve.sampling import NEUTRAL
from serve.schema import read_registry
from serve.settings import CanaryConfig, ServeConfig
from tests.serving import tiny_checkpoint
from train.schema import model_version, read_manifest


class ProbedEngine:
    """Knows the answers to the probes of every checkpoint, and gives those of the one it was last given."""

    kind = "embedded"
    provider = "probed"
    is_ours = True

    def __init__(self, model: Path, name: str = "base", *, adds: bool = False) -> None:
        self.parts = (self,)
        self.model = self.loaded = model
        self.name = name
        self.beside: dict[str, Path] = {}
        self._adds = adds
        self.is_stopped = False
        self.breaks_on: Path | None = None

    def is_running(self) -> bool:
        return not self.is_stopped

    def can_add(self, _: Path) -> bool:
        return self._adds

    async def add(self, checkpoint: Path, name: str) -> str:
        self.beside[name] = checkpoint
        return "float32"

    async def remove(self, name: str) -> None:
        self.beside.pop(name, None)

    async def load(self, checkpoint: Path) -> str:
        if checkpoint == self.breaks_on:
            raise EngineFailed("it ended")
        self.loaded = checkpoint
        return "float32"

    async def stop(self) -> None:
        self.is_stopped = True

    async def score(self, prompt: list[int], response: list[int], model: str | None = None) -> list[float]:
        probes = read_manifest(self.beside.get(model or "", self.loaded)).probes
        known = {(*probe.prompt_token_ids, *probe.response_token_ids): probe.logprobs for probe in probes}
        return known.get((*prompt, *response), [-1.0] * len(response))

    async def complete(self, _: list[int], **__: Any) -> dict[str, Any]:
        return {"choices": [{"token_ids": [1], "logprobs": {"token_logprobs": [-1.0]}}]}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("models")
    return [tiny_checkpoint(root / name, seed=seed) for seed, name in enumerate(("a", "b", "c"))]


class Bench:
    """A gateway whose live model is the first, and an engine for it."""

    def __init__(self, data: Path, live: Path, *, adds: bool = False) -> None:
        registry.initialise(data, live, "base")
        self.data = data
        self.engine = ProbedEngine(live, adds=adds)
        self.others: list[ProbedEngine] = []
        self.gateway = Gateway("base", NEUTRAL, NoOpTracer())
        self.serving = Serving(self.engine, "base", describe_policy(live))  # type: ignore[arg-type]
        self.gateway.admission.begin(self.serving)
        self.changes = Changes(ServeConfig(data=data, drain_timeout_s=2), self.gateway, self._start, self._prove)

    async def _start(self, checkpoint: Path, _: str) -> Serving:
        self.others.append(engine := ProbedEngine(checkpoint))
        return Serving(engine, "base", describe_policy(checkpoint))  # type: ignore[arg-type]

    async def _prove(self, _: Serving) -> None:
        raise AssertionError("nothing sleeps here")

    async def promote(self, checkpoint: Path) -> dict[str, Any]:
        return await self.changes.promote({"checkpoint": str(checkpoint)})

    @property
    def version(self) -> str:
        policy = self.gateway.admission.policy
        assert policy is not None
        return policy.version


def refuse(*_: Any, **__: Any) -> Any:
    """Do what a full disk does."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextlib.contextmanager
def full_disk(monkeypatch: pytest.MonkeyPatch, refused: str = "fsync") -> Iterator[None]:
    """Fill the disk while the block runs."""
    with monkeypatch.context() as patched:
        patched.setattr(os, refused, refuse)
        yield


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(scenario())  # type: ignore[arg-type]


def test_a_promotion_changes_weights_label_and_record_together(tmp_path: Path, models: list[Path]) -> None:
    """And a rollback changes them back."""

    async def scenario() -> None:
        bench = Bench(tmp_path, models[0])
        await bench.promote(models[1])
        assert (bench.engine.loaded, bench.version) == (models[1], model_version(models[1]))
        await bench.changes.rollback({})
        assert (bench.engine.loaded, bench.version) == (models[0], model_version(models[0]))
        assert [line["action"] for line in registry.read_audit(tmp_path)] == ["initialise", "promote", "rollback"]

    run(scenario)


@pytest.mark.parametrize("refused", ["fsync", "replace"])
@pytest.mark.parametrize("is_asked", [False, True])
def test_weights_whose_change_cannot_be_recorded_are_not_served(
    tmp_path: Path, models: list[Path], monkeypatch: pytest.MonkeyPatch, refused: str, *, is_asked: bool
) -> None:
    """A disk that is full for the registry, its trail or the gate's report: weights, label and record stay the old."""

    async def scenario() -> None:
        bench = Bench(tmp_path, models[0])
        before = read_registry(tmp_path)
        if is_asked:
            monkeypatch.setattr("serve.change.opening.Gate.ask_after", given_report)
        with full_disk(monkeypatch, refused), pytest.raises(OSError, match="No space"):
            await bench.promote(models[1])
        assert (bench.engine.loaded, bench.version) == (models[0], model_version(models[0]))
        assert read_registry(tmp_path) == before
        await bench.promote(models[1])
        assert (bench.engine.loaded, bench.version) == (models[1], model_version(models[1]))

    async def given_report(_: Any, former: Serving, __: Serving, checkpoint: Path) -> behavior.BehaviorReport:
        return behavior.judge(
            [], [], [], ServeConfig(), weights_digest=checkpoint.name, compared_version=former.policy.version
        )

    run(scenario)


@pytest.mark.parametrize("stays_broken", [False, True])
@pytest.mark.parametrize("action", ["promote", "rollback", "taken over", "canary"])
def test_wherever_the_disk_fails_weights_label_and_record_are_one(
    tmp_path: Path, models: list[Path], monkeypatch: pytest.MonkeyPatch, action: str, *, stays_broken: bool
) -> None:
    """An I/O error at the first of all syncs and renames, at the second, and so on: the change is whole or none."""

    async def change(bench: Bench) -> None:
        if action == "rollback":
            await bench.changes.rollback({})
        elif action == "canary":
            config = CanaryConfig(share=0.5).model_dump(mode="json")
            await bench.changes.canary({"checkpoint": str(models[1]), "config": config})
        else:
            await bench.promote(models[1])

    async def scenario(data: Path, num_before: int) -> bool:
        bench = Bench(data, models[0], adds=action == "canary")
        if action == "rollback":
            await bench.promote(models[1])
        if action == "taken over":
            monkeypatch.setattr("serve.changes.is_adapter", lambda _: True)
        failed = False
        async with asyncio.timeout(60):
            with failing_disk(monkeypatch, num_before, stays_broken=stays_broken) as refused:
                try:
                    await change(bench)
                except OSError:
                    failed = True
        found = read_registry(data)
        assert found is not None
        serving = bench.gateway.admission.serving
        assert serving is not None
        assert found.live_version == bench.version == model_version(serving.engine.loaded)  # type: ignore[attr-defined]
        assert (found.canary is None) == (bench.gateway.split is None)
        assert registry.read_audit(data)[-1]["time"] == found.changed_time
        was_made = found.canary is not None or found.live_version == model_version(models[action != "rollback"])
        assert was_made != failed
        return bool(refused)

    num_before = 0
    while asyncio.run(scenario(tmp_path / str(num_before), num_before)):
        num_before += 1
    assert num_before > 5


@contextlib.contextmanager
def failing_disk(monkeypatch: pytest.MonkeyPatch, num_before: int, *, stays_broken: bool) -> Iterator[list[str]]:
    """Let so many syncs, renames, links and openings for writing work, then all but one or none; yield which failed."""
    num = 0
    refused: list[str] = []

    def broken(name: str) -> Callable[..., Any]:
        real = getattr(os, name)

        def call(*arguments: Any, **keywords: Any) -> Any:
            nonlocal num
            if name != "open" or arguments[1] & (os.O_WRONLY | os.O_RDWR):
                num += 1
                if num == num_before + 1 or (stays_broken and num > num_before):
                    refused.append(name)
                    raise OSError(errno.EIO, os.strerror(errno.EIO))
            return real(*arguments, **keywords)

        return call

    with monkeypatch.context() as patched:
        for name in ("fsync", "replace", "link", "open"):
            patched.setattr(os, name, broken(name))
        yield refused


def test_an_engine_that_cannot_go_back_is_stopped(
    tmp_path: Path, models: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knows its weights: no call reaches it, and a fresh one will load what the registry says."""

    async def scenario() -> None:
        bench = Bench(tmp_path, models[0])
        bench.engine.breaks_on = models[0]
        with full_disk(monkeypatch), pytest.raises(EngineFailed, match="it ended"):
            await bench.promote(models[1])
        assert bench.gateway.admission.serving is None
        assert bench.engine.is_stopped

    run(scenario)


@pytest.mark.parametrize("adds", [True, False])
@pytest.mark.parametrize("action", ["promote", "canary"])
def test_what_was_opened_beside_is_closed_when_it_cannot_be_recorded(
    tmp_path: Path, models: list[Path], monkeypatch: pytest.MonkeyPatch, action: str, *, adds: bool
) -> None:
    """In the same engine or one of its own: nothing of it is left, and the next attempt works."""

    async def scenario() -> None:
        bench = Bench(tmp_path, models[0], adds=adds)
        if action == "promote":
            monkeypatch.setattr("serve.changes.is_adapter", lambda _: True)  # taken over, not changed in place

        async def ask() -> None:
            if action == "promote":
                await bench.promote(models[1])
            else:
                config = CanaryConfig(share=0.5).model_dump(mode="json")
                await bench.changes.canary({"checkpoint": str(models[1]), "config": config})

        with full_disk(monkeypatch), pytest.raises(OSError, match="No space"):
            await ask()
        assert bench.engine.beside == {}
        assert [other.is_stopped for other in bench.others] == ([] if adds else [True])
        assert bench.gateway.split is None
        await ask()
        found = read_registry(tmp_path)
        assert found is not None
        assert model_version(models[1]) in (found.live_version, found.canary and found.canary.version)

    run(scenario)


def test_a_canary_that_is_worse_loses_its_calls_on_a_full_disk_too(
    tmp_path: Path, models: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its end is put on record as soon as that can be."""

    async def scenario() -> None:
        bench = Bench(tmp_path, models[0], adds=True)
        config = CanaryConfig(share=0.5).model_dump(mode="json")
        await bench.changes.canary({"checkpoint": str(models[1]), "config": config})
        assert bench.gateway.split is not None
        with full_disk(monkeypatch), pytest.raises(OSError, match="No space"):
            await bench.changes.trial.end("worse")
        assert bench.gateway.split is None
        assert bench.engine.beside == {}
        await bench.changes.trial.resume()
        assert bench.gateway.split is None
        await bench.changes.trial._look()
        assert [line["reason"] for line in registry.read_audit(tmp_path)][-1] == "worse"

    run(scenario)
