import asyncio
from pathlib import Path

import pytest

from serve.change.proof import ProbeFailed
from serve.change.swap import swap, undone_on_error
from serve.engines.engine import EngineFailed, LoadRefused
from train.schema import Probe


class ForgetfulEngine:
    """Loads what it is told, and may go on answering with the weights from before: a number stands for them."""

    def __init__(self, *, is_stale: bool) -> None:
        self.parts = (self,)
        self.loaded: list[str] = []
        self.model = Path("old")
        self.is_stale = is_stale
        self.is_broken = False

    async def load(self, checkpoint: Path) -> str:
        if self.is_broken:
            raise LoadRefused("gone")
        self.loaded.append(checkpoint.name)
        return "float32"

    async def score(self, prompt: list[int], response: list[int], model: str | None = None) -> list[float]:  # noqa: ARG002 - the engine's signature
        return [-1.0 if self.is_stale or self.loaded[-1:] != ["new"] else -2.0 for _ in response]


PROBE = Probe(prompt_token_ids=[1], response_token_ids=[2, 3], logprobs=[-2.0, -2.0])


def test_a_swap_is_proved() -> None:
    """The engine that answers as the trainer did keeps the new weights."""
    engine = ForgetfulEngine(is_stale=False)

    difference = asyncio.run(swap(engine, Path("new"), [PROBE], before=[-1.0, -1.0]))  # type: ignore[arg-type]

    assert (difference.mean, difference.max, difference.num_tokens, difference.shift) == (0.0, 0.0, 2, 1.0)
    assert engine.loaded == ["new"]
    assert engine.model == Path("new")


def test_a_swap_that_left_old_weights_behind_is_undone() -> None:
    """A reload can answer 200 and change nothing: the log-probabilities tell."""
    engine = ForgetfulEngine(is_stale=True)

    async def change() -> None:
        async with undone_on_error(engine):  # type: ignore[arg-type]
            await swap(engine, Path("new"), [PROBE], before=[-1.0, -1.0])  # type: ignore[arg-type]

    with pytest.raises(ProbeFailed, match=r"1\.0000"):
        asyncio.run(change())

    assert engine.loaded == ["new", "old"]
    assert engine.model == Path("old")


def test_what_cannot_be_undone_leaves_an_engine_nobody_trusts() -> None:
    """The former weights are gone from disk: the engine must be stopped, and the error says so."""
    engine = ForgetfulEngine(is_stale=False)

    async def change() -> None:
        async with undone_on_error(engine):  # type: ignore[arg-type]
            await swap(engine, Path("new"), [PROBE], before=[-1.0, -1.0])  # type: ignore[arg-type]
            engine.is_broken = True
            raise OSError(28, "No space left on device")

    with pytest.raises(EngineFailed, match="No space left"):
        asyncio.run(change())
