"""A benchmark's end says whether held-out questions went better by more than chance."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from foundation.errors import GateRefused
from spanloop.demo import learn as module
from spanloop.demo.benchmarks import BENCHMARKS
from spanloop.demo.learn import learn
from spanloop.demo.settings import DemoConfig

TASK = "calcx"


def attempts(reward: float) -> list[dict[str, Any]]:
    measures = dict.fromkeys(BENCHMARKS[TASK].measures, reward)
    return [{"task_id": str(n), "cluster": str(n), "reward": reward, "measures": measures} for n in range(10)]


class Rounds:
    """What a benchmark asks of its rounds, answered at once."""

    servers = SimpleNamespace(engine="embedded")

    def __init__(self, before: float, after: float) -> None:
        self._rewards = {"before": before, "after": after}

    def heldout(self, label: str, **_: object) -> list[dict[str, Any]]:
        return attempts(self._rewards[label.removesuffix("-greedy")])

    def window(self, number: int) -> dict[str, Any]:
        cpu = {"train": 0.25} if number % 2 else {"etl": 0.5, "train": 0.25}
        spent = {"duration_s": 1.0, "stages_s": {"etl": 1.0}, "cpu_s": cpu}
        return {"window": number, "episodes": 8, "reward": 0.5, "gate": "passed", **spent}

    def count(self, _: str) -> int:
        return 7


def demonstrate(
    monkeypatch: pytest.MonkeyPatch, data: Path, before: float, after: float, *, nights: int = 0, as_json: bool = True
) -> dict[str, Any]:
    """Run a benchmark that goes so; return its report."""

    @contextmanager
    def rounds(*_: object, **__: object) -> Iterator[Rounds]:
        yield Rounds(before, after)

    monkeypatch.setattr(module, "running_rounds", rounds)
    for name in ("require_inputs", "environment", "warm_model"):
        monkeypatch.setattr(module, name, lambda *_: None)
    try:
        learn(DemoConfig(task=TASK, data=data, nights=nights), as_json=as_json)
    finally:
        report: dict[str, Any] = json.loads((data / "demo.json").read_text())
    return report


def test_a_gain_is_reported_of_every_measure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sampled and greedy; without a window there is nothing to draw."""
    report = demonstrate(monkeypatch, tmp_path, 0.25, 0.75)

    for compared in report["heldout"].values():
        assert (compared["before"], compared["after"], compared["attempts"]) == (0.25, 0.75, 10)
        for measure in ("reward", *BENCHMARKS[TASK].measures):
            assert compared[f"{measure}_gain"] == {"mean": 0.5, "low": 0.5, "high": 0.5}
    assert not (tmp_path / "reward.png").exists()


def test_what_may_be_chance_is_refused_after_it_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No gain at all is none."""
    with pytest.raises(GateRefused, match="may be chance"):
        demonstrate(monkeypatch, tmp_path, 0.5, 0.5)

    assert json.loads((tmp_path / "demo.json").read_text())["heldout"]["sampled"]["reward_gain"]["mean"] == 0


def test_a_part_that_not_every_window_had_is_summed_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The summary has a row a window, and says where report and picture lie."""
    report = demonstrate(monkeypatch, tmp_path / "[a]", 0.25, 0.75, nights=3, as_json=False)

    out = capsys.readouterr().out
    assert report["cpu_s"] == {"train": 0.8, "etl": 0.5}
    assert [line.split()[0] for line in out.splitlines() if line.rstrip().endswith(" 2")] == ["1", "2", "3"]
    assert f"{tmp_path / '[a]' / 'demo.json'} and {tmp_path / '[a]' / 'reward.png'}" in out
