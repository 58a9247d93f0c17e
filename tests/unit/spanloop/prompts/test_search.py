"""The search: what it asks, of whom, and what it takes."""

from pathlib import Path

import pytest

from serve.prompts.schema import Template
from spanloop.prompts.optimise import Material, gather, look, prove
from spanloop.prompts.settings import OptimiseConfig
from spanloop.replay.scoring import Score
from spanloop.replay.trial import Trial, attempt
from tests.prompted import BASE, DAYS, RIGHT, ByLot, Reflecting, agent, by_worth, log_calls

pytest.importorskip("gepa")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = log_calls(tmp_path_factory.mktemp("prompted"), num_tasks=16)
    (data / "base.txt").write_text(BASE + "\n")
    return data


def made(data: Path, score: Score, **settings: int) -> tuple[OptimiseConfig, Material, "Replaying"]:
    config = OptimiseConfig(data=data, agent="adder", reflect="-", base=data / "base.txt", **settings)
    return config, gather(config), Replaying(score)


class Replaying:
    """Replays with the scripted agent, and counts."""

    def __init__(self, score: Score) -> None:
        self.score = score
        self.systems: list[str] = []

    def __call__(self, states: list) -> Trial:  # type: ignore[type-arg]
        self.systems += [state.messages[0]["text"] for state in states]
        return attempt(states, agent, self.score, concurrency=1)


def test_the_missing_instruction_is_found_and_proved(data: Path) -> None:
    """The live prompt is scored by what was logged and is asked anew only beside its rival, day by day as it was."""
    config, material, replay = made(data, by_worth)
    reflecting = Reflecting()
    text, reflection = look(config, material, replay, by_worth, reflecting)

    assert text == RIGHT
    assert reflection.refused == []
    assert not {Template(BASE).fill({"day": day}) for day in DAYS} & set(replay.systems)
    (first, *_) = reflecting.asked
    assert first["system_message"] == BASE
    assert {each["score"] for each in first["conversations"]} == {0.0}
    assert all(message["role"] != "system" for each in first["conversations"] for message in each["messages"])
    judged = prove(config, material, text, replay)
    assert judged.is_better
    assert judged.after is not None
    assert (judged.before, judged.num_tasks, judged.after > 0.7) == (0.0, 16, True)
    assert {"You add numbers. Today is Monday."} < set(replay.systems)


def test_rewards_by_lot_prove_nothing(data: Path) -> None:
    """Whatever the search took for better, the states held out do not say so."""
    config, material, replay = made(data, ByLot(1), calls=120, proposals=4)
    text, _ = look(config, material, replay, ByLot(2), Reflecting())
    assert text is None or not prove(config, material, text, replay).is_better


def test_proposals_end(data: Path) -> None:
    """Also where none may be tried: each is asked for once, and the search comes to its end."""
    config, material, replay = made(data, by_worth, proposals=5)
    reflecting = Reflecting(["You add numbers."])
    text, reflection = look(config, material, replay, by_worth, reflecting)
    assert (text, len(reflecting.asked), len(reflection.refused), replay.systems) == (None, 5, 5, [])
