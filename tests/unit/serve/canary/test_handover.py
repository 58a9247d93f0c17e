"""Users handed over from the hosted model to the student, and back."""

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from foundation.errors import SettingsError
from serve.canary import handover
from serve.canary.handover import HandingOver
from serve.canary.verdict import Observation
from serve.gateway.second import Second
from serve.schema import read_handover
from serve.settings import CanaryConfig

CONFIG = CanaryConfig(shares=(0.25, 0.5), units=20).model_dump(mode="json")


class Told:
    """A store that tells what it is told to, once."""

    observations: Iterable[Observation] = ()

    def __init__(self, *_: object, **__: object) -> None: ...

    def read(self) -> list[Observation]:
        found, Told.observations = list(Told.observations), ()
        return found


@pytest.fixture
def second(monkeypatch: pytest.MonkeyPatch) -> Second:
    monkeypatch.setattr(handover, "Observer", Told)
    return Second(None, share=0.9)  # type: ignore[arg-type]


def seen(student: float, hosted: float) -> list[Observation]:
    return [Observation("canary", "reward", student)] * 60 + [Observation("live", "reward", hosted)] * 60


def test_a_student_that_is_not_worse_gets_more_and_then_all(tmp_path: Path, second: Second) -> None:
    """Each step is in force and on record; a restart goes on where it was."""

    async def scenario() -> list[tuple[float, bool]]:
        going = HandingOver(tmp_path, second)
        await going.change({"config": CONFIG})
        steps = [(second.share, second.salt is not None)]
        for _ in range(3):
            Told.observations = seen(0.6, 0.6)
            await going.look()
            steps.append((second.share, second.salt is not None))
            again: Any = Second(None, share=0.9)  # type: ignore[arg-type]
            HandingOver(tmp_path, again)
            assert (again.share, again.salt) == (second.share, second.salt)
        return steps

    assert asyncio.run(scenario()) == [(0.75, True), (0.5, True), (0.0, False), (0.0, False)]


def test_a_student_that_is_worse_loses_its_users(tmp_path: Path, second: Second) -> None:
    """All of them, also where the disk is full: the record follows."""

    async def scenario() -> None:
        going = HandingOver(tmp_path, second)
        await going.change({"config": CONFIG})
        Told.observations = seen(0.1, 0.9)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(handover, "write_atomically", full)
            with pytest.raises(OSError, match="No space"):
                await going.look()
        found = going.status()
        assert found is not None
        assert (second.share, found["share"]) == (1.0, 0.0)
        await going.look()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    asyncio.run(scenario())
    kept = read_handover(tmp_path)
    assert kept is not None
    assert "worse than the hosted model" in str(kept.reason)


def test_it_ends_by_hand_and_needs_a_hosted_model(tmp_path: Path, second: Second) -> None:
    """Without one there is nobody to take users from."""

    async def scenario() -> None:
        going = HandingOver(tmp_path, second)
        assert going.status() is None
        await going.change({"config": CONFIG})
        found = await going.change({"config": None})
        assert (found["share"], found["trial"], second.share) == (0.0, None, 1.0)
        with pytest.raises(SettingsError, match="no hosted model"):
            await HandingOver(tmp_path, None).change({"config": None})

    asyncio.run(scenario())
    kept = read_handover(tmp_path)
    assert kept is not None
    assert kept.reason == "ended by hand"
