"""A night of a student: too little waits, the next goes on from it, and a line says what was gained."""

from pathlib import Path
from typing import Any

import pytest

from foundation.errors import ExitStatus, SettingsError
from foundation.files import write_json
from serve.change import registry
from spanloop.nightly import hosted, steps
from spanloop.nightly.night import Night
from spanloop.nightly.run import nightly
from spanloop.nightly.settings import NightlyConfig
from spanloop.processes import StageFailed
from tests.serving import with_manifest
from train.schema import MANIFEST, model_version, read_manifest

SIDE: dict[str, Any] = {
    "score": {"mean": 0.9, "low": 0.8, "high": 1.0},
    "share_whole": 1.0,
    "agreement": 1.0,
    "duration_s": 0.8,
    "cost": 0.002,
}
REPLAY = {"teacher": SIDE, "candidate": SIDE | {"duration_s": 0.05, "cost": 0.0, "agreement": 0.97}}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    path = tmp_path / "base"
    path.mkdir()
    (path / "config.json").write_text("{}")
    return path


def checkpoint(path: Path, **about: Any) -> Path:
    path.mkdir(parents=True)
    (path / "model.safetensors").write_bytes(path.name.encode())
    return with_manifest(path, probes=[], **about)


def night_of(config: NightlyConfig, **done: dict[str, Any]) -> Night:
    assert config.student is not None
    return Night(config, config.student, "2026-01-01T00:00:00+00:00", done=done)


def answer(monkeypatch: pytest.MonkeyPatch, report: dict[str, Any]) -> list[tuple[str, ...]]:
    asked: list[tuple[str, ...]] = []

    def run_stage(*arguments: str) -> dict[str, Any]:
        asked.append(arguments)
        return report

    monkeypatch.setattr(hosted, "run_stage", run_stage)
    return asked


def test_the_next_night_goes_on_from_the_student(tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the same base, and while it is there; what is too little makes none."""
    config = NightlyConfig(data=tmp_path, student=base, agents=("solver",))
    assert hosted.student_of(config) == base
    answer(monkeypatch, {"checkpoint": None, "waiting": "3 calls"})
    assert hosted.distil(config, night_of(config), tmp_path / "out")["checkpoint"] is None
    assert hosted.student_of(config) == base

    made = checkpoint(tmp_path / "out" / "one")
    asked = answer(monkeypatch, {"checkpoint": str(made)})
    hosted.distil(config, night_of(config), tmp_path / "out")

    assert asked[0][:7] == ("distill", "--data", str(tmp_path), "--model", str(base), "--agent", "solver")
    assert hosted.student_of(config) == made
    (other := tmp_path / "other").mkdir()
    assert hosted.student_of(config.model_copy(update={"student": other})) == other
    (made / MANIFEST).unlink()
    assert hosted.student_of(config) == base


def test_a_refused_student_is_judged_and_not_tried(tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The replay's status is no failure of the night: its verdict is in the manifest."""
    config = NightlyConfig(data=tmp_path, student=base)
    made = checkpoint(tmp_path / "out" / "one")
    night = night_of(config, train={"checkpoint": str(made)})
    gate = {"verdict": "refused", "reason": "worse", "replay": REPLAY}

    def refuse(*_: str) -> dict[str, Any]:
        told = read_manifest(made).model_copy(update={"gate": gate})
        write_json(made / MANIFEST, told.model_dump(mode="json"))
        raise StageFailed(["replay"], int(ExitStatus.REFUSED), [])

    monkeypatch.setattr(hosted, "run_stage", refuse)
    night.done["replay"] = steps.perform("replay", config, night)

    assert night.done["replay"]["gained"] == (
        "refused, score 0.900 to 0.900, tool calls agree 97%, 100% replayed to the end, "
        "seconds an answer 0.8 to 0.05, cost of a state 0.002 to 0"
    )
    assert steps.perform("promote", config, night)["hint"] == "The student is not tried: worse"


def test_a_student_is_tried_where_a_gateway_runs(tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere it is said how to serve it."""
    config = NightlyConfig(data=tmp_path, student=base)
    night = night_of(config, train={"checkpoint": "c"}, replay={"gate": {"verdict": "inconclusive"}})
    asked = answer(monkeypatch, {"canary": "c"})

    assert "--fallback" in hosted.try_out(config, night, is_served=False)["hint"]
    assert asked == []
    registry.initialise(tmp_path, base, model_version(base))
    hosted.try_out(config, night, is_served=True)
    assert asked[0][:2] == ("serve", "canary")


def test_a_student_has_nights_of_its_own(tmp_path: Path, base: Path) -> None:
    """Windows and another model to begin with are of those who serve their own."""
    with pytest.raises(SettingsError, match="nights of its own"):
        nightly(config=NightlyConfig(data=tmp_path, student=base, watch=True))
