"""A version of a prompt on its way: judged by real spans, widened, made live, ended; the registry says what is true."""

import asyncio
from collections.abc import Iterable
from pathlib import Path

import pytest

from serve.canary import prompt_trials, verdict
from serve.canary.prompt_trials import PromptTrials
from serve.canary.verdict import Observation
from serve.prompts import registry
from serve.prompts.loading import open_prompting
from serve.prompts.schema import read_changes
from serve.settings import CanaryConfig


class Told:
    """A store that tells what it is told to, once."""

    observations: Iterable[Observation] = ()

    def __init__(self, *_: object, prompt: str) -> None:
        assert prompt == "solver"

    def read(self) -> list[Observation]:
        found, Told.observations = list(Told.observations), ()
        return found


@pytest.fixture
def trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PromptTrials:
    monkeypatch.setattr(prompt_trials, "Observer", Told)
    registry.keep(tmp_path, "solver", "b", base="a")
    config = CanaryConfig(share=0.25, shares=(0.25, 0.5), units=20, reward="outcome")
    registry.start_canary(tmp_path, "solver", 1, verdict.begin(tmp_path, "1", config, slow_s=None))
    return PromptTrials(tmp_path, open_prompting(tmp_path))


def seen(canary: float, live: float, count: int = 60) -> list[Observation]:
    return [
        *(Observation("canary", "reward", canary) for _ in range(count)),
        *(Observation("live", "reward", live) for _ in range(count)),
    ]


def test_what_is_not_worse_gets_more_and_then_all(tmp_path: Path, trials: PromptTrials) -> None:
    """The gateway answers by what the registry says, at once."""
    shares = []
    for _ in range(4):
        Told.observations = seen(0.6, 0.6)
        asyncio.run(trials.look())
        now = registry.require(tmp_path, "solver")
        assert trials._prompting.known["solver"].prompt == now
        shares.append((now.live, None if now.canary is None else now.canary.share))
    assert shares == [(0, 0.5), (1, None), (1, None), (1, None)]
    assert "not worse" in read_changes(tmp_path)[-1]["reason"]


def test_what_is_worse_ends(tmp_path: Path, trials: PromptTrials) -> None:
    """With the reason on record; everybody is under the live version again."""
    Told.observations = seen(0.1, 0.9)
    asyncio.run(trials.look())
    now = registry.require(tmp_path, "solver")
    assert (now.live, now.canary) == (0, None)
    assert "worse than the live version: reward" in read_changes(tmp_path)[-1]["reason"]
    assert trials._prompting.known["solver"].prompt.canary is None


def test_a_store_that_cannot_be_read_is_said_and_nothing_changes(
    tmp_path: Path, trials: PromptTrials, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next look may go well."""

    def broken(_: object) -> None:
        raise OSError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(Told, "read", broken)
        asyncio.run(trials.look())
    assert trials.status()["solver"]["trouble"] == "OSError"
    assert registry.require(tmp_path, "solver").canary is not None
    Told.observations = seen(0.6, 0.6, count=5)
    asyncio.run(trials.look())
    found = trials.status()["solver"]
    assert (found["trouble"], found["canary"]["num_units"]) == (None, 5)
