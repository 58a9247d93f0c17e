import json
import os
import random
import signal
import time
from pathlib import Path

import pytest

from serve.canary.verdict import begin
from serve.change import registry
from serve.schema import audit_path, read_registry
from serve.settings import CanaryConfig


def model(path: Path) -> Path:
    """Write a directory that passes for a model: the registry opens no weights."""
    path.mkdir()
    (path / "config.json").write_text("{}")
    (path / "model.safetensors").write_bytes(path.name.encode())
    return path


@pytest.fixture
def models(tmp_path: Path) -> list[Path]:
    return [model(tmp_path / name) for name in ("a", "b", "c")]


def test_rollback_returns_through_every_promotion(tmp_path: Path, models: list[Path]) -> None:
    """Last in, first out, down to the first model and no further."""
    data = tmp_path / "data"
    registry.initialise(data, models[0], "base")
    registry.promote(data, models[1])
    registry.promote(data, models[2])

    assert [Path(registry.rollback(data).live).name for _ in range(2)] == ["b", "a"]
    with pytest.raises(registry.NothingBefore):
        registry.rollback(data)


def test_promoting_what_is_live_changes_nothing(tmp_path: Path, models: list[Path]) -> None:
    """A night that is run again does not push its own checkpoint down the list."""
    data = tmp_path / "data"
    registry.initialise(data, models[0], "base")

    first, second = registry.promote(data, models[1]), registry.promote(data, models[1])

    assert second == first
    assert len(registry.read_audit(data)) == 2


def test_every_change_leaves_a_line(tmp_path: Path, models: list[Path]) -> None:
    """What, from, to, in order."""
    data = tmp_path / "data"
    registry.initialise(data, models[0], "base")
    registry.promote(data, models[1])
    registry.rollback(data)

    trail = [(line["action"], line["from"], line["to"]) for line in registry.read_audit(data)]

    a, b = (registry.model_version(each) for each in models[:2])
    assert trail == [("initialise", None, a), ("promote", a, b), ("rollback", b, a)]


def test_it_is_known_whether_the_live_model_was_ever_asked(tmp_path: Path, models: list[Path]) -> None:
    """As it was promoted, or before that as a canary; not when another was, nor when a promotion was forced."""
    data = tmp_path / "data"
    a, b, c = (registry.model_version(each) for each in models)
    registry.initialise(data, models[0], "base")
    registry.promote(data, models[1], behavior=True)
    registry.rollback(data)
    canary = begin(models[2], c, CanaryConfig(), slow_s=None)
    registry.start_canary(data, canary, behavior=True)
    trail = registry.read_audit(data)

    assert [registry.behaves(trail, version) for version in (a, b, c)] == [False, True, True]
    assert not registry.behaves(trail[:-1], c)
    registry.promote(data, models[2])
    assert registry.behaves(registry.read_audit(data), c)


def test_a_crash_between_registry_and_trail_is_repaired(tmp_path: Path, models: list[Path]) -> None:
    """The line that was not written, and half of one that was, are put right at the next change."""
    data = tmp_path / "data"
    registry.initialise(data, models[0], "base")
    before = audit_path(data).read_bytes()
    registry.promote(data, models[1])
    audit_path(data).write_bytes(before + b'{"time": "20')

    registry.promote(data, models[2])

    lines = [json.loads(line) for line in audit_path(data).read_bytes().splitlines()]
    assert [line["action"] for line in lines] == ["initialise", "recovered", "promote"]
    assert [line["to"] for line in lines] == [registry.model_version(each) for each in models]


def test_whenever_it_is_killed_the_registry_is_whole_and_the_trail_complete(tmp_path: Path, models: list[Path]) -> None:
    """100 processes that promote and roll back without pause, each killed at a random moment."""
    data = tmp_path / "data"
    registry.initialise(data, models[0], "base")
    seed = random.randrange(2**32)
    generator = random.Random(seed)

    for _ in range(100):
        child = os.fork()
        if child == 0:
            while True:
                registry.promote(data, models[1])
                registry.promote(data, models[2])
                registry.rollback(data)
                registry.rollback(data)
        time.sleep(generator.uniform(0, 0.006))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        found = read_registry(data)
        assert found is not None, f"seed {seed}"
        # Start the next round from a known place, through the same door.
        registry.promote(data, models[0])

    trail = registry.read_audit(data)
    assert [line["to"] for line in trail[:-1]] == [line["from"] for line in trail[1:]], f"seed {seed}"
