"""Checkpoints opened beside the live one: in its engine or their own, proved before any call, closed after the last."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from foundation.errors import Busy
from serve.change.integrity import CheckpointRefused
from serve.change.opening import Opener
from serve.change.proof import ProbeFailed
from tests.serving import altered_checkpoint
from tests.unit.serve.test_changes import Bench, models, run

__all__ = ["models"]


def opener(bench: Bench) -> Opener:
    return bench.changes.trial._opener


@pytest.mark.parametrize("adds", [True, False])
def test_a_checkpoint_is_opened_where_there_is_room_for_it(tmp_path: Path, models: list[Path], *, adds: bool) -> None:
    """Under a name that is never used twice, or in an engine of its own; kept while the block goes well."""

    async def scenario() -> None:
        bench = Bench(tmp_path, models[0], adds=adds)
        names = []
        for _ in range(2):
            async with opener(bench).opened(models[1], force=True) as opened:
                names.append((opened.serving.engine, opened.serving.model))
        assert len(set(names)) == 2
        assert (len(bench.engine.beside), len(bench.others)) == ((2, 0) if adds else (0, 2))

    run(scenario)


def test_what_is_not_proved_is_closed_before_anybody_calls_it(tmp_path: Path, models: list[Path]) -> None:
    """The engine answers as another checkpoint would."""

    async def scenario() -> None:
        bench = Bench(tmp_path, models[0])

        async def start(_: Path, __: str) -> Any:
            return await bench._start(models[2], "")

        beside = opener(bench)
        beside._start_engine = start
        with pytest.raises(ProbeFailed):
            async with beside.opened(models[1], force=True):
                raise AssertionError("it was let in")
        assert [other.is_stopped for other in bench.others] == [True]

    run(scenario)


def test_nothing_is_opened_beside_what_does_not_serve_or_elsewhere(
    tmp_path: Path, models: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the engine starts, where weights are replicas', and where there is nothing to tell the weights by."""

    async def scenario() -> None:
        bench = Bench(tmp_path, models[0])
        unprobed = altered_checkpoint(models[1], tmp_path / "unprobed", seed=5)
        (unprobed / "manifest.json").unlink()
        with pytest.raises(CheckpointRefused, match="no probes"):
            async with opener(bench).opened(unprobed, force=True):
                pass
        monkeypatch.setattr(type(bench.engine), "is_ours", False)
        with pytest.raises(CheckpointRefused, match="one set of weights"):
            async with opener(bench).opened(models[1], force=True):
                pass
        bench.gateway.admission.suspend()
        with pytest.raises(Busy):
            async with opener(bench).opened(models[1], force=True):
                pass

    run(scenario)


def test_a_model_is_closed_when_its_last_call_has_ended(tmp_path: Path, models: list[Path]) -> None:
    """Not before, and no longer than the change may take."""

    async def scenario() -> None:
        bench = Bench(tmp_path, models[0])
        beside, former = opener(bench), bench.serving
        async with beside.opened(models[1], force=True) as opened:
            pass
        async with bench.gateway.admission.admitted():
            bench.gateway.admission.begin(opened.serving)
            closing = asyncio.ensure_future(beside.close(former, unless=opened.serving))
            await asyncio.sleep(0)
            assert not bench.engine.is_stopped
        await closing
        assert bench.engine.is_stopped

    run(scenario)
