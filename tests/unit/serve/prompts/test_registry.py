"""Versions of prompts on disk: what is kept, what is in force, and what crashes and full disks leave."""

import json
from pathlib import Path
from typing import Any

import pytest

from foundation.errors import Busy, SettingsError
from foundation.files import exclusive
from foundation.state import StateUnreadable
from serve.canary.verdict import begin
from serve.prompts import registry
from serve.prompts.registry import NothingBefore
from serve.prompts.schema import (
    prompts_audit_path,
    prompts_path,
    read_changes,
    read_prompts,
    read_version,
    version_path,
)
from serve.settings import CanaryConfig

BASE = "Today is {{day}}. Be kind."


def keep(data: Path, text: str = "Be kinder on {{day}}.", **fields: Any) -> int:
    return registry.keep(data, "solver", text, base=None if read_prompts(data).agents else BASE, **fields).number


def test_versions_go_live_and_back(tmp_path: Path) -> None:
    """Kept, nobody has it; promoted, everybody; rolled back twice, the agent's own again; the trail has it all."""
    assert (keep(tmp_path), keep(tmp_path)) == (1, 2)
    assert registry.require(tmp_path, "solver").live == 0
    registry.promote(tmp_path, "solver", 1)
    registry.promote(tmp_path, "solver", 1)
    registry.promote(tmp_path, "solver", 2, reason="better")
    assert registry.rollback(tmp_path, "solver").live == 1
    assert registry.rollback(tmp_path, "solver").live == 0
    with pytest.raises(NothingBefore):
        registry.rollback(tmp_path, "solver")

    trail = read_changes(tmp_path)
    assert [line["action"] for line in trail] == ["keep", "keep", "promote", "promote", "rollback", "rollback"]
    assert [(line["from"], line["to"]) for line in trail[2:]] == [(0, 1), (1, 2), (2, 1), (1, 0)]
    assert trail[3]["reason"] == "better"


def test_a_canary_is_one_at_a_time_and_ends_first(tmp_path: Path) -> None:
    """Another can neither be tried nor promoted meanwhile; promoted itself, it is live."""
    keep(tmp_path), keep(tmp_path)
    trial = begin(tmp_path, "1", CanaryConfig(), slow_s=None)
    registry.start_canary(tmp_path, "solver", 1, trial)
    with pytest.raises(Busy):
        registry.start_canary(tmp_path, "solver", 2, trial)
    with pytest.raises(Busy):
        registry.promote(tmp_path, "solver", 2)
    with pytest.raises(Busy):
        registry.keep(tmp_path, "solver", "x", base="another message")
    wider = registry.widen_canary(tmp_path, "solver", 0.5, "not worse")
    assert wider.canary is not None
    assert wider.canary.share == 0.5
    assert registry.rollback(tmp_path, "solver").canary is None
    registry.start_canary(tmp_path, "solver", 1, trial)
    after = registry.promote(tmp_path, "solver", 1)
    assert (after.live, after.canary) == (1, None)
    with pytest.raises(SettingsError, match="is live"):
        registry.start_canary(tmp_path, "solver", 1, trial)


def test_what_cannot_be_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    """No base, unknown holes, no such version, no such agent, a lock that is held."""
    with pytest.raises(SettingsError, match="nothing is known"):
        registry.keep(tmp_path, "solver", "x")
    with pytest.raises(SettingsError, match="name"):
        registry.keep(tmp_path, "a\nb", "x", base="y")
    assert not prompts_path(tmp_path).exists()
    keep(tmp_path)
    before = prompts_path(tmp_path).read_bytes()
    with pytest.raises(SettingsError, match="night"):
        keep(tmp_path, "Be kind at {{night}}.")
    with pytest.raises(SettingsError, match="no version 7"):
        registry.promote(tmp_path, "solver", 7)
    with pytest.raises(SettingsError, match="those of: solver"):
        registry.promote(tmp_path, "writer", 0)
    with exclusive(tmp_path / "serve" / "prompts.lock", purpose="test"), pytest.raises(Busy):
        keep(tmp_path)
    assert prompts_path(tmp_path).read_bytes() == before


def test_when_the_agents_own_message_changes_its_versions_are_no_longer_live(tmp_path: Path) -> None:
    """They were versions of another message; numbers go on."""
    keep(tmp_path)
    registry.promote(tmp_path, "solver", 1)
    made = registry.keep(tmp_path, "solver", "Be {{how}}.", base="Now be {{how}}.")
    after = registry.require(tmp_path, "solver")
    assert (made.number, after.live, after.previous, after.base) == (2, 0, (), "Now be {{how}}.")


@pytest.mark.parametrize("agent", ["../../up", "a/b", ".", "ü" * 100, "solver"])
def test_an_agents_name_is_no_path(tmp_path: Path, agent: str) -> None:
    """Whatever it is, its versions lie below DATA/serve/prompts, and are found again."""
    registry.keep(tmp_path, agent, "b", base="a")
    path = version_path(tmp_path, agent, 1)
    assert path.resolve().parent.parent == (tmp_path / "serve" / "prompts").resolve()
    found = read_version(tmp_path, agent, 1)
    assert found is not None
    assert found.text == "b"


def test_a_full_disk_leaves_what_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it strikes: the version in force stays, and the trail says no more than what came."""
    keep(tmp_path)
    before = prompts_path(tmp_path).read_bytes(), prompts_audit_path(tmp_path).read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("serve.prompts.registry.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        registry.promote(tmp_path, "solver", 1)
    assert (prompts_path(tmp_path).read_bytes(), prompts_audit_path(tmp_path).read_bytes()) == before


def test_a_crash_between_trail_and_change_is_finished_by_the_next(tmp_path: Path) -> None:
    """A line of a change that never was is not shown, and cut off; half a line too."""
    keep(tmp_path)
    with prompts_audit_path(tmp_path).open("ab") as file:
        file.write(json.dumps({"time": "2030-01-01", "action": "promote", "agent": "solver"}).encode() + b"\n")
    assert [line["action"] for line in read_changes(tmp_path)] == ["keep"]
    registry.promote(tmp_path, "solver", 1)
    with prompts_audit_path(tmp_path).open("ab") as file:
        file.write(b'{"time"')
    registry.rollback(tmp_path, "solver")
    assert [line["action"] for line in read_changes(tmp_path)] == ["keep", "promote", "rollback"]


def test_a_damaged_file_is_refused_by_name(tmp_path: Path) -> None:
    """A text somebody changed on disk is no version that was measured."""
    keep(tmp_path)
    path = version_path(tmp_path, "solver", 1)
    path.write_bytes(path.read_bytes().replace(b"kinder", b"meaner"))
    with pytest.raises(StateUnreadable, match=r"1\.json"):
        registry.promote(tmp_path, "solver", 1)
    assert registry.require(tmp_path, "solver").live == 0
