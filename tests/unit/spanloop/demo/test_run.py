"""The demo's end says whether the agent got better by more than chance."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from foundation.errors import GateRefused, SettingsError
from spanloop.demo import run
from spanloop.demo.run import demo
from spanloop.demo.settings import DemoConfig


class World:
    """What the demo asks of its world, answered at once: held-out problems solved before and after."""

    engine = "embedded"

    def __init__(self, before: int, after: int) -> None:
        self._solved = [before, after]

    def attempt_heldout(self, problems: int) -> list[bool]:
        solved = self._solved.pop(0)
        return [number < solved for number in range(problems)]

    def live_through(self, night: int) -> dict[str, Any]:
        counts = dict.fromkeys(("episodes", "spans", "transitions"), 8)
        rewards = {"train_reward": 0.5, "heldout_reward": 0.25}
        return {"night": night, **counts, **rewards, "gate": "passed", "checkpoint": "base-c1", "engine": self.engine}

    def count(self, _: str) -> int:
        return 7


def demonstrate(
    monkeypatch: pytest.MonkeyPatch, data: Path, before: int, after: int, *, nights: int = 1, as_json: bool = False
) -> None:
    @contextmanager
    def world(*_: object) -> Iterator[World]:
        yield World(before, after)

    monkeypatch.setattr(run, "running_world", world)
    demo(config=DemoConfig(data=data, nights=nights, heldout=20), as_json=as_json)


def test_a_rise_beyond_chance_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The report is kept, and printed where it was asked for."""
    demonstrate(monkeypatch, tmp_path, 5, 15, as_json=True)

    printed = json.loads(capsys.readouterr().out)
    kept = json.loads((tmp_path / "demo.json").read_text())
    assert (kept["heldout_before"], kept["heldout_after"], kept["spans"]) == (0.25, 0.75, 7)
    assert printed["p_value"] == kept["p_value"] < run.SIGNIFICANCE
    assert (tmp_path / "reward.png").exists()


def test_what_may_be_chance_is_refused_after_it_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever looks finds the report."""
    with pytest.raises(GateRefused, match="may be chance"):
        demonstrate(monkeypatch, tmp_path, 10, 12)

    assert json.loads((tmp_path / "demo.json").read_text())["p_value"] > run.SIGNIFICANCE


@pytest.mark.parametrize("nights", [0, 2])
def test_a_summary_names_where_everything_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], nights: int
) -> None:
    """With brackets in the name of its directory, and without a night: what there is before any."""
    data = tmp_path / "[a]"

    demonstrate(monkeypatch, data, 5, 15, nights=nights)

    out = capsys.readouterr().out
    assert str(data / "reward.html") in out
    assert "0.250 → 0.750" in out
    assert "on embedded." in out


def test_a_demo_without_its_policy_says_where_it_comes_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is begun."""
    monkeypatch.setattr(run, "EXAMPLE", tmp_path)

    with pytest.raises(SettingsError, match="has no policy"):
        demo(config=DemoConfig(data=tmp_path / "data"))

    assert not (tmp_path / "data").exists()
