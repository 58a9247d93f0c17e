"""One adapter for each agent: who gets one, who is passed over, and when the whole run is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from etl.schema import SetAside
from foundation.errors import GateRefused, SpanloopError
from foundation.report import RunReport
from tests.unit.train.calls import call
from train.data.logged import Logged
from train.losses.routing import route_calls
from train.plan import Plan
from train.run import train_each_agent
from train.settings import TrainConfig


class Trainer:
    """Stands in for the training of one agent: it says how each ended, and keeps the settings."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, ends: dict[str, Exception | None]) -> None:
        self.ends = ends
        self.trained: list[str] = []
        monkeypatch.setattr("train.run._run", self._run)
        monkeypatch.setattr("train.run.make_plan", lambda config, **_: config)
        self.report = RunReport("train run", {})

    def _run(self, config: TrainConfig, plan: Any, _: RunReport) -> Path:
        assert plan is config, "each is planned with its own settings"
        (agent,) = config.agents
        self.trained.append(agent)
        if (end := self.ends.get(agent)) is not None:
            raise end
        return Path(agent)

    def train(self, model: Path, *agents: str, set_aside: tuple[str, ...] = ()) -> dict[str, Path]:
        calls = [call([1], [2], agent=agent) for agent in agents]
        calls += [call([1], [2], agent=agent, set_aside=SetAside.OTHER_AGENT) for agent in set_aside]
        logged = Logged([], calls)
        route, taken = route_calls(Logged([], []), np.array([]), loss="ppo", negative=1.0)
        return train_each_agent(TrainConfig(model=model), Plan(logged, [], taken, route, facts={}), self.report)


def test_every_agent_with_calls_to_train_is_trained_once(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order of their names; one whose calls were all set aside is none of them."""
    trainer = Trainer(monkeypatch, {})

    found = trainer.train(model, "writer", "coder", "writer", set_aside=("judge",))

    assert found == {"coder": Path("coder"), "writer": Path("writer")}
    assert trainer.trained == ["coder", "writer"]


def test_a_name_that_looks_like_a_pattern_is_that_agent_alone(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`a*` does not train on what `ab` did."""
    trainer = Trainer(monkeypatch, {})

    assert list(trainer.train(model, "a*", "ab")) == ["a*", "ab"]
    assert trainer.trained == ["a[*]", "ab"]


def test_one_that_is_refused_costs_the_others_nothing(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The report says who, and why."""
    trainer = Trainer(monkeypatch, {"coder": GateRefused("too few episodes")})

    assert trainer.train(model, "coder", "writer") == {"writer": Path("writer")}
    assert trainer.report.as_dict()["refused"] == {"coder": "too few episodes"}


def test_where_all_are_refused_the_run_is(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For the first one's reason, after every one was tried."""
    trainer = Trainer(monkeypatch, {agent: GateRefused(f"not {agent}") for agent in ("coder", "writer")})

    with pytest.raises(GateRefused, match="not coder"):
        trainer.train(model, "writer", "coder")

    assert trainer.trained == ["coder", "writer"]


def test_what_is_no_refusal_ends_the_run(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is not this agent's matter."""
    trainer = Trainer(monkeypatch, {"coder": SpanloopError("No space left")})

    with pytest.raises(SpanloopError, match="No space"):
        trainer.train(model, "coder", "writer")

    assert trainer.trained == ["coder"]
