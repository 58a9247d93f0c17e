"""What a step asks of its stage follows from the settings, and work that was done is not done again."""

import os
from pathlib import Path
from typing import Any

import pytest

from spanloop.nightly import steps
from spanloop.nightly.night import Night
from spanloop.nightly.settings import NightlyConfig
from tests.serving import with_manifest
from train.schema import model_version


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Keep what stages are asked, and run none."""
    kept: list[tuple[str, ...]] = []

    def run_stage(*arguments: str) -> dict[str, Any]:
        kept.append(arguments)
        return {}

    monkeypatch.setattr(steps, "run_stage", run_stage)
    return kept


def night_of(config: NightlyConfig, model: Path, **done: dict[str, Any]) -> Night:
    return Night(config, model, "2026-01-01T00:00:00+00:00", done=done)


def checkpoint(path: Path, **about: Any) -> Path:
    path.mkdir(parents=True)
    (path / "model.safetensors").write_bytes(path.name.encode())
    return with_manifest(path, probes=[], **about)


@pytest.mark.parametrize(
    ("gate", "canary", "verb"),
    [
        ({"verdict": "better", "passed": True}, False, "promote"),
        ({"verdict": "better", "passed": True}, True, "canary"),
        ({"verdict": "inconclusive", "passed": False}, False, "canary"),
        ({"verdict": "inconclusive", "passed": True}, False, "promote"),
        (None, False, "promote"),
    ],
)
def test_what_the_gate_leaves_open_is_tried_on_a_share(
    tmp_path: Path, asked: list[tuple[str, ...]], gate: Any, canary: bool, verb: str
) -> None:
    """What it accepted is made live, or is tried where the settings want that."""
    config = NightlyConfig(data=tmp_path, canary=canary)
    night = night_of(config, tmp_path, train={"checkpoint": "c"}, evaluate={"gate": gate})

    steps.perform("promote", config, night)

    assert asked[0][:2] == ("serve", verb)
    assert asked[0][-1] == "c"


def test_a_training_that_had_ended_is_found_by_its_manifest(tmp_path: Path, asked: list[tuple[str, ...]]) -> None:
    """Made since the night began, from its model; half-written ones and others' are none."""
    config, model = NightlyConfig(data=tmp_path), tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    night = night_of(config, model)
    out = tmp_path / "checkpoints"
    (out / ".partial-1").mkdir(parents=True)
    checkpoint(out / "3", parent="another", created_time="2026-01-01T05:00:00+00:00")
    checkpoint(out / "2", parent=model_version(model), created_time="2025-12-31T23:00:00+00:00")
    assert steps.find_made(out, night) is None

    made = checkpoint(out / "1", parent=model_version(model), created_time="2026-01-01T05:00:00+00:00")

    assert steps.perform("train", config, night) == {"checkpoint": str(made), "was_recovered": True}
    assert asked == []


def test_only_what_was_left_long_ago_is_swept(tmp_path: Path) -> None:
    """Somebody may be writing the other."""
    for name in (".partial-old", ".partial-new", "whole"):
        (tmp_path / name).mkdir()
    os.utime(tmp_path / ".partial-old", (0, 0))
    os.utime(tmp_path / "whole", (0, 0))
    os.utime(tmp_path / ".partial-new", (9_000, 9_000))

    steps.sweep(tmp_path, now_s=10_000)

    assert sorted(path.name for path in tmp_path.iterdir()) == [".partial-new", "whole"]


def test_a_window_takes_its_own_recipe_unless_the_settings_name_one(
    tmp_path: Path, asked: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And its step, which is within its budget, is accepted where a night's would be left to a canary."""
    config = NightlyConfig(data=tmp_path, watch=True)
    assert steps.train_arguments(config, tmp_path)[-2:] == ["--recipe", "window"]
    monkeypatch.setattr(steps, "live_model", lambda _: tmp_path)

    steps.perform("evaluate", config, night_of(config, tmp_path, train={"checkpoint": "c"}))

    assert asked[0][-4:] == ("--inconclusive", "accept", "--most-episodes", "32")
    monkeypatch.setenv("SPANLOOP_TRAIN_RUN_RECIPE", "grpo")
    assert "--recipe" not in steps.train_arguments(config, tmp_path)
