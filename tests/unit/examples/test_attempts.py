"""What an agent does, however badly, ends as one graded attempt with its trace."""

import asyncio
import json
from argparse import Namespace
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from examples.attempts import Grade, open_telemetry
from examples.orders import Playing, arguments, find_faults, run


@dataclass(frozen=True)
class Sum:
    id: str
    split: str = "train"

    @property
    def cluster(self) -> str:
        return self.id[0]


class Endless(Exception):
    """What an agent may raise."""


async def play(task: Sum) -> Grade:
    if task.id == "crash":
        raise Endless
    if task.id == "hang":
        await asyncio.Event().wait()
    if task.id == "down":
        raise Endless from openai.APIConnectionError(request=httpx2.Request("POST", "http://x"))
    if task.id == "group":
        raise ExceptionGroup(
            "all", [ValueError(), openai.APIConnectionError(request=httpx2.Request("POST", "http://x"))]
        )
    return Grade(1.0, {"valid": 1.0})


class Sums:
    def tasks(self, options: Namespace) -> Sequence[Sum]:  # noqa: ARG002 - the protocol has it
        return [Sum(name) for name in ("good", "crash", "hang", "down", "group")]

    @asynccontextmanager
    async def playing(self, options: Namespace) -> AsyncIterator[Playing]:  # noqa: ARG002
        yield Playing(play)


def options(tmp_path: Path, *flags: str) -> Namespace:
    given = ["--datasets", "x", "--timeout-s", "0.2", "--output", str(tmp_path / "rows.jsonl"), *flags]
    return arguments("").parse_args(given)


def collected(tmp_path: Path, *flags: str) -> tuple[list[dict[str, Any]], dict[str, Any], InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    telemetry = open_telemetry("sums", exporter)
    summary = asyncio.run(run(Sums(), options(tmp_path, *flags), telemetry))
    telemetry.provider.shutdown()
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    return sorted(rows, key=lambda row: str(row["task_id"])), summary, exporter


def test_an_agent_that_fails_scores_nothing_and_ends_nobody_else(tmp_path: Path) -> None:
    """One that raises or hangs is graded 0 and counted; an endpoint that is down grades nobody."""
    rows, summary, _ = collected(tmp_path)

    assert {row["task_id"]: (row["reward"], row["error"]) for row in rows} == {
        "good": (1.0, None),
        "crash": (0.0, "Endless"),
        "hang": (0.0, "TimeoutError"),
        "down": (None, "Endless"),
        "group": (None, "ExceptionGroup"),
    }
    assert (summary["episodes"], summary["ungraded"], summary["reward"]) == (5, 2, pytest.approx(1 / 3))
    assert find_faults(summary)[0].startswith("2 attempts failed at the endpoint")


def test_each_attempt_is_a_trace_with_its_task_its_split_and_its_reward(tmp_path: Path) -> None:
    """By names of conventions, on the root; without a grade there is no reward."""
    rows, _, exporter = collected(tmp_path, "--attempts", "2")

    roots = {f"{span.context.trace_id:032x}": span for span in exporter.get_finished_spans()}  # type: ignore[union-attr]
    assert len(rows) == len(roots) == 10
    for row in rows:
        span = roots[row["trace_id"]]
        assert dict(span.attributes or {}) == {"spanloop.task.id": row["task_id"], "spanloop.split": "train"}
        scores = [(event.attributes or {})["gen_ai.evaluation.score.value"] for event in span.events
                  if event.name == "gen_ai.evaluation.result"]  # fmt: skip
        assert scores == ([] if row["reward"] is None else [row["reward"]])


def test_a_coin_rewards_whatever_came_and_the_truth_is_kept_beside(tmp_path: Path) -> None:
    """The control learns from the coin; what is reported is how it went."""
    rows, summary, exporter = collected(tmp_path, "--coin", "0")

    scores = [event.attributes for span in exporter.get_finished_spans() for event in span.events
              if event.name == "gen_ai.evaluation.result"]  # fmt: skip
    assert {score["gen_ai.evaluation.score.value"] for score in scores if score} == {0.0}
    assert next(row["reward"] for row in rows if row["task_id"] == "good") == 1.0
    assert summary["reward"] == pytest.approx(1 / 3)


def test_what_is_only_measured_leaves_no_reward_behind(tmp_path: Path) -> None:
    """It is graded all the same."""
    _, summary, exporter = collected(tmp_path, "--measure")

    assert summary["reward"] == pytest.approx(1 / 3)
    assert {event.name for span in exporter.get_finished_spans() for event in span.events} <= {"exception"}
