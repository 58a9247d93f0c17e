"""A canary's way: begun, opened again, widened, finished, ended; the registry says at each step what is true."""

from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from structlog.testing import capture_logs

from foundation.errors import Busy
from serve.canary import verdict as canaries
from serve.change import registry
from serve.schema import read_registry
from serve.settings import CanaryConfig
from tests.unit.serve.test_changes import Bench, models, run
from train.schema import model_version

__all__ = ["models"]


class Silent:
    """A store that has nothing to tell."""

    def read(self) -> list[Any]:
        return []


async def begun(tmp_path: Path, models: list[Path], **settings: Any) -> Bench:
    bench = Bench(tmp_path, models[0], adds=True)
    config = CanaryConfig(**{"share": 0.5, **settings}).model_dump(mode="json")
    await bench.changes.canary({"checkpoint": str(models[1]), "config": config})
    bench.changes.trial._observer = Silent()  # type: ignore[assignment]
    return bench


def test_a_canary_that_is_not_worse_gets_more_and_then_all(
    tmp_path: Path, models: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each share is on record before it is given; at the end it is what is live, and the former model is closed."""
    monkeypatch.setattr(canaries, "may_widen", lambda *_: True)

    async def scenario() -> None:
        bench = await begun(tmp_path, models, share=0.25)
        trial, shares = bench.changes.trial, []
        while (found := registry.require(tmp_path)).canary is not None:
            shares.append(found.canary.share)
            assert bench.gateway.split is not None
            assert bench.gateway.split.share == found.canary.share
            await trial._look()
        assert shares == sorted(set(shares))
        assert shares[0] == 0.25
        assert (bench.version, bench.gateway.split) == (model_version(models[1]), None)
        assert trial.status() is None

    run(scenario)


def test_a_canary_that_is_worse_is_rolled_back(
    tmp_path: Path, models: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All calls go to the live model, nothing of the canary is left in the engine, and the trail says why."""
    monkeypatch.setattr(canaries, "find_worse", lambda *_: "errors")

    async def scenario() -> None:
        bench = await begun(tmp_path, models)
        await bench.changes.trial._look()
        assert (bench.gateway.split, bench.engine.beside) == (None, {})
        assert bench.version == model_version(models[0])
        assert "errors" in registry.read_audit(tmp_path)[-1]["reason"]

    run(scenario)


def test_a_canary_whose_end_cannot_be_written_down_is_neither_promoted_nor_started(
    tmp_path: Path, models: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has lost its calls, and says so once; as soon as the disk takes it, the end is on record."""
    monkeypatch.setattr(canaries, "find_worse", lambda *_: "errors")

    async def scenario() -> None:
        bench = await begun(tmp_path, models)
        trial, checkpoint = bench.changes.trial, {"checkpoint": str(models[1])}
        with monkeypatch.context() as full, capture_logs() as said:
            full.setattr(registry, "end_canary", Mock(side_effect=OSError(28, "No space left on device")))
            for _ in range(3):
                with pytest.raises(OSError, match="No space"):
                    await trial._look()
            for change in (bench.changes.promote, bench.changes.canary):
                with pytest.raises(Busy, match="could not be put on record"):
                    await change(checkpoint | {"config": {}})
        assert [one["event"] for one in said].count("canary ended") == 1
        assert (bench.gateway.split, bench.version) == (None, model_version(models[0]))
        await trial._look()
        assert registry.require(tmp_path).canary is None
        assert "errors" in registry.read_audit(tmp_path)[-1]["reason"]

    run(scenario)


def test_a_canary_is_opened_again_after_a_start(tmp_path: Path, models: list[Path]) -> None:
    """The registry keeps it; while an engine is started the live model answers everything."""

    async def scenario() -> None:
        bench = await begun(tmp_path, models)
        trial = bench.changes.trial
        await trial.set_aside()
        assert bench.gateway.split is None
        with pytest.raises(Busy):
            await trial.finish("now")
        await trial.resume()
        assert bench.gateway.split is not None
        status = trial.status()
        assert status is not None
        assert (status["version"], status["is_serving"]) == (model_version(models[1]), True)

    run(scenario)


def test_a_canary_that_cannot_be_opened_again_is_ended(tmp_path: Path, models: list[Path]) -> None:
    """Rather than tried for ever; unless it was the live engine that failed."""

    async def scenario() -> None:
        bench = await begun(tmp_path, models)
        trial = bench.changes.trial
        await trial.set_aside()
        bench.engine._adds = False
        bench.changes.trial._opener._start_engine = _refuse  # type: ignore[assignment]
        bench.engine.is_stopped = True
        await trial.resume()
        found = read_registry(tmp_path)
        assert found is not None
        assert found.canary is not None
        bench.engine.is_stopped = False
        await trial.resume()
        found = read_registry(tmp_path)
        assert found is not None
        assert found.canary is None

    run(scenario)


async def _refuse(*_: object) -> Any:
    raise Busy("no memory for another engine")


def test_a_canary_whose_engine_ended_is_ended(tmp_path: Path, models: list[Path]) -> None:
    """Its calls would wait for nobody."""

    async def scenario() -> None:
        bench = await begun(tmp_path, models)
        split = bench.gateway.split
        assert split is not None
        split.admission.suspend()
        await bench.changes.trial._look()
        assert registry.require(tmp_path).canary is None
        assert registry.read_audit(tmp_path)[-1]["reason"] == "its engine ended"

    run(scenario)
