"""The models of an engine, and what becomes of it when one of their batches can go on no more."""

import asyncio
from pathlib import Path

import pytest

from serve.engines.embedded.answers import answer_whole, read_job
from serve.engines.embedded.models import Sampler
from tests.fakes import tiny_model


def test_a_batch_that_can_go_on_no_more_is_not_kept_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process ends with what stopped it, for another to be started: else calls would wait for ever."""

    def fail(*_: object) -> None:
        raise RuntimeError("nobody thought of this")

    async def scenario() -> None:
        engine = Sampler(tiny_model(tmp_path, seed=0), "base")
        engine.start()
        job = read_job(engine, {"model": "base", "prompt": [1], "max_tokens": 2}, is_chat=False)
        assert (await answer_whole(engine, job))["choices"][0]["finish_reason"] == "length"
        monkeypatch.setattr("serve.engines.embedded.generation.Batch.drop", fail)
        asking = asyncio.ensure_future(answer_whole(engine, job))
        with pytest.raises(RuntimeError, match="nobody thought of this"):
            await engine.failed()
        asking.cancel()

    asyncio.run(scenario())
