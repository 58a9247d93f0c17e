import errno
import json
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from foundation.errors import SpanloopError
from serve.canary.verdict import begin
from serve.change import registry
from serve.schema import audit_path, encode_file, read_registry, registry_path
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


def test_a_change_that_cannot_be_written_is_none(
    tmp_path: Path, models: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever write the disk refuses (the file, its audit line, the rename), registry and trail are as before."""
    data = tmp_path / "data"
    registry.initialise(data, models[0], "base")
    before, trail = registry_path(data).read_bytes(), audit_path(data).read_bytes()
    num_writes = 0

    def full(name: str, when: int) -> None:
        written = getattr(os, name)

        def write(*arguments: Any, **named: Any) -> Any:
            nonlocal num_writes
            num_writes += 1
            if num_writes == when:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return written(*arguments, **named)

        monkeypatch.setattr(os, name, write)

    for name, when in (("fsync", 1), ("fsync", 2), ("replace", 1)):
        num_writes = 0
        with monkeypatch.context() as patched:
            monkeypatch = patched
            full(name, when)
            with pytest.raises(OSError, match="No space"):
                registry.promote(data, models[1])
        assert registry_path(data).read_bytes() == before, name
        assert audit_path(data).read_bytes() == trail, name
        assert list(registry_path(data).parent.glob("*.tmp")) == []


def test_a_line_of_a_change_that_never_was_is_no_part_of_the_trail(tmp_path: Path, models: list[Path]) -> None:
    """Killed between the line and the registry: readers leave it out, the next change cuts it off."""
    data = tmp_path / "data"
    registry.initialise(data, models[0], "base")
    before = registry_path(data).read_bytes()
    registry.promote(data, models[1], behavior=True)
    registry_path(data).write_bytes(before)

    assert [line["action"] for line in registry.read_audit(data)] == ["initialise"]
    registry.promote(data, models[2])
    lines = [json.loads(line) for line in audit_path(data).read_bytes().splitlines()]
    assert [line["to"] for line in lines] == [registry.model_version(each) for each in (models[0], models[2])]


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content[: len(content) // 2],
        lambda content: content.replace(b'"base": "base"', b'"base": "bass"'),
        lambda content: content.replace(b'"schema_version": 1', b'"schema_version": 2'),
        lambda _: b"[]",
        lambda _: b"",
    ],
)
def test_a_registry_that_is_damaged_or_newer_is_refused_by_name(
    tmp_path: Path, models: list[Path], change: Callable[[bytes], bytes]
) -> None:
    """Cut short, a byte changed, of a later release: with the file's name and a way out, and never a traceback."""
    registry.initialise(tmp_path, models[0], "base")
    path = registry_path(tmp_path)
    path.write_bytes(change(path.read_bytes()))

    with pytest.raises(SpanloopError, match=r"registry\.json") as refused:
        read_registry(tmp_path)

    assert refused.value.hint


@pytest.mark.long
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


def test_data_may_move_with_the_checkpoints_in_it(tmp_path: Path, models: list[Path]) -> None:
    """Such as a backup that is restored under another name: what lies below DATA is named from there."""
    data = tmp_path / "data"
    (data / "checkpoints").mkdir(parents=True)
    ours = [model(data / "checkpoints" / name) for name in ("first", "second")]
    registry.initialise(data, models[0], "base")
    registry.promote(data, ours[0])
    registry.promote(data, ours[1])
    assert '"checkpoints/second"' in registry_path(data).read_text()
    data.rename(tmp_path / "moved")

    found = read_registry(tmp_path / "moved")

    assert found is not None
    assert Path(found.live) == tmp_path / "moved" / "checkpoints" / "second"
    assert found.previous == (str(models[0]), str(tmp_path / "moved" / "checkpoints" / "first"))
    assert Path(registry.rollback(tmp_path / "moved").live).name == "first"


def test_a_checkpoint_that_was_named_by_a_path_of_before_is_found_below_data(tmp_path: Path) -> None:
    """Registries of earlier releases hold whole paths."""
    data = tmp_path / "data"
    (data / "checkpoints").mkdir(parents=True)
    first = model(data / "checkpoints" / "first")
    written = registry.initialise(data, first, "base")
    elsewhere = written.model_copy(update={"live": "/var/lib/elsewhere/checkpoints/first"})
    registry_path(data).write_bytes(encode_file(elsewhere))

    found = read_registry(data)

    assert found is not None
    assert Path(found.live) == first
