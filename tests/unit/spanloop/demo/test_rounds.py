"""What was measured before an interruption is read again, and what the agent's process does is told."""

import io
import json
import math
from pathlib import Path
from typing import Any, cast

import pytest

from foundation.errors import SpanloopError
from spanloop.demo.rounds import Collector, _newest, mean_reward


class Agent:
    """Stands where the agent's process does: writes attempts to where it is told, and a summary as its line."""

    def __init__(self, attempts: list[dict[str, Any]] | None) -> None:
        self.attempts = attempts
        self.orders: list[dict[str, Any]] = []
        self.stdin = self
        self.stdout = io.StringIO()

    def write(self, text: str) -> None:
        if self.attempts is None:
            raise BrokenPipeError
        order = json.loads(text)
        self.orders.append(order)
        Path(order["output"]).write_text("".join(json.dumps(row) + "\n" for row in self.attempts))
        self.stdout = io.StringIO(json.dumps({"episodes": len(self.attempts)}) + "\n")

    def flush(self) -> None:
        """Nothing waits."""

    def wait(self) -> int:
        return 3


def collector(agent: Agent, output: Path) -> Collector:
    return Collector(cast("Any", agent), output)


def test_what_was_measured_is_not_asked_again(tmp_path: Path) -> None:
    """A run that was interrupted goes on with the same attempts, without the process."""
    agent = Agent([{"reward": 1.0}, {"reward": None}])

    first = collector(agent, tmp_path).collect("window-0001", split="train")
    again = collector(Agent(None), tmp_path).collect("window-0001", split="train")

    assert first == again == ([{"reward": 1.0}, {"reward": None}], {"episodes": 2})
    assert agent.orders == [{"output": str(tmp_path / "window-0001.jsonl"), "split": "train"}]


def test_attempts_without_a_summary_are_made_anew(tmp_path: Path) -> None:
    """The process ended while it wrote them."""
    (tmp_path / "a.jsonl").write_text('{"reward": 0.5}\n{"rew')

    assert collector(Agent([{"reward": 1.0}]), tmp_path).collect("a")[0] == [{"reward": 1.0}]


def test_a_process_that_ended_is_told_with_its_status(tmp_path: Path) -> None:
    """And where it said why; nothing half is kept as measured."""
    with pytest.raises(SpanloopError, match="status 3 while it collected a") as caught:
        collector(Agent(None), tmp_path / "episodes").collect("a")

    assert str(tmp_path / "demo.log") in (caught.value.hint or "")
    assert not list(tmp_path.rglob("*.json"))


def test_the_mean_is_of_what_was_graded() -> None:
    """Where nothing was, it is not a number: nobody takes it for 0."""
    assert mean_reward([{"reward": 1.0}, {"reward": None}, {"reward": 0.0}]) == 0.5
    assert math.isnan(mean_reward([{"reward": None}]))


def test_a_window_has_the_stages_of_its_own_night(tmp_path: Path) -> None:
    """Reports are named by chance: the last by name had been taken for the last one."""
    for name, hour in (("e6", 18), ("14", 17), ("a4", 19)):
        (tmp_path / f"{name}.json").write_text(json.dumps({"started_time": f"2026-11-30T{hour}:00:00+00:00"}))

    assert _newest(tmp_path)["started_time"].startswith("2026-11-30T19")
    assert _newest(tmp_path / "none") == {}
