"""A benchmark learned through the loop: windows of minutes, each collected, turned into transitions, trained, promoted.

A run can be interrupted anywhere and goes on there: what is measured is a file each, what is live is the registry's.
"""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from etl.schema import table_files
from foundation.errors import ExitStatus, SpanloopError
from foundation.files import write_atomically
from foundation.narration import get_logger
from receiver.schema import connect
from serve.schema import read_registry
from spanloop.demo.benchmarks import ROOT, Benchmark
from spanloop.demo.cpu import cpu_seconds
from spanloop.demo.settings import DemoConfig
from spanloop.demo.world import Servers, Steps, running_servers
from spanloop.nightly.run import nightly
from spanloop.nightly.settings import NightlyConfig
from spanloop.processes import StageFailed, stages_run_by
from spanloop.warm import WarmStages

log = get_logger("demo")

Rows = list[dict[str, Any]]


@dataclass
class Collector:
    """The agent's process: it stays, because importing a framework takes longer than a window's episodes."""

    process: subprocess.Popen[str]
    output: Path

    def collect(self, label: str, **order: object) -> tuple[Rows, dict[str, Any]]:
        """Have questions attempted; return the attempts and the summary. What was measured before is read again."""
        place = self.output / f"{label}.jsonl"
        summary = place.with_suffix(".json")
        if not summary.exists():
            assert self.process.stdin is not None
            assert self.process.stdout is not None
            try:
                self.process.stdin.write(json.dumps({"output": str(place), **order}) + "\n")
                self.process.stdin.flush()
            except BrokenPipeError:
                pass  # it ended, which the empty line says too
            line = self.process.stdout.readline()
            if not line:
                raise SpanloopError(
                    f"the agent's process ended with status {self.process.wait()} while it collected {label}",
                    hint=f"What it said is in {self.output.parent / 'demo.log'}; run the command again to go on.",
                )
            write_atomically(summary, line.encode())
        rows = [json.loads(line) for line in place.read_text().splitlines()]
        return rows, json.loads(summary.read_text())


@dataclass
class Rounds:
    """What is asked of the running world, window after window."""

    benchmark: Benchmark
    config: DemoConfig
    data: Path
    servers: Servers
    collector: Collector
    steps: Steps

    def heldout(self, label: str, *, temperature: float, attempts: int) -> Rows:
        """Attempt the held-out questions with what is live."""
        with self.steps.step(f"held-out questions, temperature {temperature:g}"):
            rows, summary = self.collector.collect(
                f"heldout-{label}",
                split=self.benchmark.heldout,
                episodes=self.config.sizes[2],
                attempts=attempts,
                temperature=temperature,
                coin=None,
                measure=True,  # a test, and not what a gate judges by: that would cost more than a window's training
                seed=0,  # the same questions for every seed, before and after
                offset=0,
            )
        log.info("held-out questions", label=label, **_said(summary, self.benchmark))
        return rows

    def window(self, number: int) -> dict[str, Any]:
        """Collect the episodes of a window, learn from them, and say in a line what came of it."""
        windows, problems, _ = self.config.sizes
        label = f"window {number}/{windows}"
        place = self.data / "windows" / f"{number:04d}.json"
        if place.exists():
            return dict(json.loads(place.read_text()))
        spent = self._cpu()
        with self.steps.step(f"{label}: collecting"):
            _, summary = self.collector.collect(
                f"window-{number:04d}",
                split="train",
                episodes=problems,
                attempts=self.config.attempts_each,
                offset=(number - 1) * problems,
                seed=self.config.seed,
                measure=False,
                coin=self.config.coin,
                temperature=1.0,
            )
        with self.steps.step(f"{label}: etl, train, evaluate, promote"):
            verdict, stages = self._learn()
        registry = read_registry(self.data)
        assert registry is not None
        row = {
            "window": number,
            **_said(summary, self.benchmark),
            "spans_lost": summary["spans"] - summary["spans_exported"],
            "gate": verdict,
            "stages_s": stages,
            "cpu_s": {part: round(after - spent[part], 1) for part, after in self._cpu().items()},
            "checkpoint": registry.live_version,
        }
        write_atomically(place, json.dumps(row).encode())
        log.info("window", **row)
        return row

    def _cpu(self) -> dict[str, float]:
        """Return the CPU-seconds spent so far, by part; `stages` is what `spanloop nightly` runs."""
        servers = {
            "receiver": self.servers.receiver.process.pid,
            "gateway and engine": self.servers.gateway.process.pid,
            "agent": self.collector.process.pid,
        }
        spent = {part: cpu_seconds(pid) for part, pid in servers.items()}
        return spent | {"stages": cpu_seconds(os.getpid(), without=frozenset(servers.values()))}

    def _learn(self) -> tuple[str, dict[str, float]]:
        """Run a night on what arrived; its verdict, and seconds by stage. What a gate refuses leaves the live model."""
        try:
            nightly(config=NightlyConfig(data=self.data, keep=2))
        except StageFailed as error:
            if error.exit_status is not ExitStatus.REFUSED:
                raise
            verdict = "refused"
        else:
            verdict = ""
        report = _newest(self.data / "nightly" / "runs")
        gate = (report.get("evaluate") or {}).get("gate") or {}
        stages = {phase["name"]: round(phase["duration_s"], 1) for phase in report.get("phases", ())}
        return verdict or str(gate.get("verdict", "nothing new")), stages

    def count(self, table: str) -> int:
        """Return the number of rows of a table; 0 while nothing has been published to it."""
        if table == "transitions" and not table_files(self.data, table):
            return 0
        reader = connect(self.data)
        try:
            return int(reader.query(f"select count(*) as rows from {table}").to_pylist()[0]["rows"])
        finally:
            reader.close()


def _newest(runs: Path) -> dict[str, Any]:
    """Return the report of the last night; their names say nothing of when they were written."""
    reports = [json.loads(path.read_text()) for path in runs.glob("*.json")]
    return max(reports, key=lambda report: str(report["started_time"]), default={})


def _said(summary: Mapping[str, Any], benchmark: Benchmark) -> dict[str, Any]:
    """Return what of a summary is worth a line."""
    names = ("reward", *benchmark.measures)
    figures = {name: summary[name] for name in names if summary.get(name) is not None}
    return {
        "episodes": summary["episodes"],
        **figures,
        "errors": summary["errors"],
        "duration_s": summary["duration_s"],
    }


@contextmanager
def running_rounds(
    benchmark: Benchmark,
    config: DemoConfig,
    *,
    data: Path,
    model: Path,
    python: Path,
    narration: TextIO,
    steps: Steps,
) -> Iterator[Rounds]:
    """Start receiver, gateway and the agent's process, and stop them at the end."""
    episodes = data / "episodes"
    episodes.mkdir(parents=True, exist_ok=True)
    (data / "windows").mkdir(exist_ok=True)
    settings = {
        "SPANLOOP_TRAIN_RUN_RECIPE": "window",
        "SPANLOOP_TRAIN_EVALUATE_INCONCLUSIVE": "accept",  # a window is too small to prove a gain; its step is bounded
        "SPANLOOP_SERVE_RUN_GATE_PROMPTS": "16",  # by old weights and new: 64 cost as much as the window's own episodes
        **({"SPANLOOP_TRAIN_RUN_AGENTS": ",".join(benchmark.agents)} if benchmark.agents else {}),
    }
    for name, value in settings.items():
        os.environ.setdefault(name, value)
    with running_servers(data, model, benchmark.name, config.engine, steps) as servers:
        command = [python, "-m", benchmark.script, "--datasets", config.datasets.absolute(), *benchmark.flags(config)]
        command += ["--concurrency", config.concurrency, "--model", f"{benchmark.name}:live", "--orders"]
        told = {
            "OPENAI_BASE_URL": servers.openai_base_url,
            "OPENAI_API_KEY": "none",
            "OTEL_EXPORTER_OTLP_ENDPOINT": servers.otlp_http,
            "PYTHONPATH": str(ROOT),
        }
        with (
            subprocess.Popen(
                [*map(str, command)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=narration,
                text=True,
                cwd=ROOT,
                env={"OTEL_EXPORTER_OTLP_TIMEOUT": "60", **os.environ, **told},  # a busy machine loses no span
            ) as process,
            stages_run_by(WarmStages().run),
        ):
            try:
                yield Rounds(benchmark, config, data, servers, Collector(process, episodes), steps)
            finally:
                process.terminate()


def mean_reward(rows: Sequence[Mapping[str, Any]]) -> float:
    """Return the mean reward of the attempts that were graded."""
    graded = [row["reward"] for row in rows if row["reward"] is not None]
    return sum(graded) / len(graded) if graded else float("nan")
