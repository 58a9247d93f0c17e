"""What the demo asks of its servers, and what it makes of the answers."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from foundation.errors import ExitStatus
from serve.schema import Registry, encode_file, registry_path
from spanloop.demo import world
from spanloop.demo.settings import DemoConfig
from spanloop.demo.world import GATE_SEED, World, progress_bar
from spanloop.processes import StageFailed


@pytest.fixture
def there(tmp_path: Path) -> Iterator[World]:
    config = DemoConfig(seed=7, nights=1, problems=8, attempts=2, heldout=8)
    registry_path(tmp_path).parent.mkdir()
    registry_path(tmp_path).write_bytes(
        encode_file(Registry(base="b", live=str(tmp_path), live_version="v1", changed_time=""))
    )
    with progress_bar(total=9) as steps:
        yield World(config, tmp_path, io.StringIO(), steps, "http://otlp", "http://openai", "embedded")


def collecting(monkeypatch: pytest.MonkeyPatch, *rewards: float) -> list[tuple[list[str], dict[str, str]]]:
    """Have the agent end its episodes so; return what it will be started with."""
    asked = []

    def run(command: list[str], *, environment: dict[str, str], narration: object) -> dict[str, Any]:
        assert narration is not None
        asked.append((command, environment))
        Path(command[command.index("--output") + 1]).write_text(
            "".join(json.dumps({"reward": reward}) + "\n" for reward in rewards)
        )
        return {}

    monkeypatch.setattr(world, "run_program", run)
    return asked


def test_a_problem_is_solved_by_the_whole_reward_alone(there: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the agent knows nothing of us but its two addresses."""
    asked = collecting(monkeypatch, 1.0, 0.5, 0.0)

    assert there.attempt_heldout(3) == [True, False, False]

    ((command, environment),) = asked
    assert environment == {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://otlp", "OPENAI_BASE_URL": "http://openai", "OPENAI_API_KEY": "none"
    }  # fmt: skip
    assert "--heldout" in command


def test_a_night_learns_from_some_problems_and_is_judged_by_others(
    there: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Drawn apart from those of the final test; its row says what came of both."""
    asked = collecting(monkeypatch, 1.0, 0.0)
    monkeypatch.setattr(world, "run_stage", lambda *_, **__: {"evaluate": {"gate": {"verdict": "passed"}}})

    row = there.live_through(1)

    (learned, _), (judged, _) = asked
    seeds = [command[command.index("--seed") + 1] for command in (learned, judged)]
    assert seeds == ["8", str(7 + GATE_SEED + 1)]
    assert ("--heldout" in learned, "--heldout" in judged) == (False, True)
    assert (row["episodes"], row["train_reward"], row["gate"], row["checkpoint"]) == (4, 0.5, "passed", "v1")


@pytest.mark.parametrize("status", [ExitStatus.REFUSED, ExitStatus.FAILED])
def test_a_refused_night_is_a_night(there: World, monkeypatch: pytest.MonkeyPatch, status: ExitStatus) -> None:
    """One that failed ends the demo."""
    collecting(monkeypatch, 1.0)

    def fail(*command: str, **_: object) -> dict[str, Any]:
        raise StageFailed(command, status, [])

    monkeypatch.setattr(world, "run_stage", fail)
    if status is ExitStatus.REFUSED:
        assert there.live_through(1)["gate"] == "refused"
    else:
        with pytest.raises(StageFailed):
            there.live_through(1)


def test_before_anything_is_published_there_are_no_transitions(there: World) -> None:
    """And no spans before any arrived."""
    assert (there.count("transitions"), there.count("spans")) == (0, 0)
