"""The demo's world: receiver, gateway and engine as running processes, and what is asked of them night after night."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from etl.schema import table_files
from foundation.errors import ExitStatus
from foundation.narration import get_logger
from receiver.schema import connect
from serve.schema import read_registry, read_server
from spanloop.demo.settings import DemoConfig
from spanloop.processes import (
    GATEWAY_WITHIN_S,
    Server,
    StageFailed,
    free_port,
    run_program,
    run_stage,
    running_server,
    spanloop_command,
)

log = get_logger("demo")

_PACKAGED = Path(__file__).parent / "example"
EXAMPLE = _PACKAGED if _PACKAGED.is_dir() else Path(__file__).parents[2] / "examples" / "calculator"
"""The agent, its problems and the warm-started policy: in a wheel they lie beside this module."""

GATE_SEED = 1_000_000
"""Draws the held-out problems of the nights apart from those of the final test."""


@contextmanager
def progress_bar(total: int) -> Iterator["Steps"]:
    """Show a progress bar on a terminal; elsewhere the log lines are all there is."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield Steps(progress, progress.add_task("starting", total=total))


@dataclass
class Steps:
    """The demo's progress, a step at a time."""

    progress: Progress
    task: Any

    @contextmanager
    def step(self, label: str) -> Iterator[None]:
        """Name the step under way and count it when it ends."""
        self.progress.update(self.task, description=label)
        yield
        self.progress.advance(self.task)


@dataclass
class World:
    """The running servers, and what the demo asks of them."""

    config: DemoConfig
    data: Path
    narration: TextIO
    steps: Steps
    otlp_endpoint: str
    openai_base_url: str
    engine: str

    def attempt_heldout(self, problems: int) -> list[bool]:
        """Try each held-out problem once; whether each was solved, in the order of the problems."""
        seed = ("--seed", str(self.config.seed))
        with self.steps.step("held-out problems"):
            rows = self._collect("heldout", "--heldout", "--episodes", str(problems), *seed)
        solved = [row["reward"] == 1.0 for row in rows]
        log.info("held-out problems", solved=sum(solved), of=len(solved))
        return solved

    def live_through(self, night: int) -> dict[str, Any]:
        """Collect the episodes of one day, run the night, and say in a line what came of it."""
        _, problems, _ = self.config.sizes
        label, nights = f"night {night}", self.config.sizes[0]
        spans_before = self.count("spans")
        with self.steps.step(f"{label}/{nights}: collecting episodes"):
            seed = ("--seed", str(self.config.seed + night))
            attempts = ("--attempts", str(self.config.attempts_each))
            rows = self._collect(f"night-{night}", "--episodes", str(problems), *attempts, *seed)
            # What the evaluation judges by: the live policy on held-out problems, drawn apart from the final test's.
            gate_seed = ("--seed", str(self.config.seed + GATE_SEED + night))
            judged = self._collect(f"gate-{night}", "--heldout", "--episodes", str(problems), *gate_seed)
        transitions_before = self.count("transitions")
        with self.steps.step(f"{label}/{nights}: etl, train, evaluate, promote"):
            gate = self._nightly()
        registry = read_registry(self.data)
        assert registry is not None
        row = {
            "night": night,
            "episodes": len(rows) + len(judged),
            "spans": self.count("spans") - spans_before,
            "transitions": self.count("transitions") - transitions_before,
            "train_reward": sum(row["reward"] for row in rows) / len(rows),
            "heldout_reward": sum(row["reward"] for row in judged) / len(judged),
            "gate": gate,
            "checkpoint": registry.live_version,
            "engine": self.engine,
        }
        log.info("night", **row)
        return row

    def _nightly(self) -> str:
        """Run one night; the verdict of its gate. A refused night is over, and the live model stays."""
        try:
            report = run_stage("nightly", "--data", str(self.data), cwd=EXAMPLE, narration=self.narration)
        except StageFailed as error:
            if error.exit_status is not ExitStatus.REFUSED:
                raise
            return "refused"
        return str(report["evaluate"]["gate"]["verdict"])

    def _collect(self, label: str, *arguments: str) -> list[dict[str, Any]]:
        """Let the agent work on problems; its spans go to the receiver, its model calls to the gateway."""
        output = self.data / "episodes" / f"{label}-{time.monotonic_ns()}.jsonl"
        output.parent.mkdir(exist_ok=True)
        command = [sys.executable, str(EXAMPLE / "collect.py"), "--output", str(output)]
        run_program(
            [*command, "--concurrency", str(self.config.concurrency), *arguments],
            environment={
                "OTEL_EXPORTER_OTLP_ENDPOINT": self.otlp_endpoint,
                "OPENAI_BASE_URL": self.openai_base_url,
                "OPENAI_API_KEY": "none",
            },
            narration=self.narration,
        )
        return [json.loads(line) for line in output.read_text().splitlines()]

    def count(self, table: str) -> int:
        """Return the number of rows of a table; 0 while nothing has been published to it."""
        reader = connect(self.data)
        try:
            if table == "transitions" and not table_files(self.data, table):
                return 0
            return int(reader.query(f"select count(*) as rows from {table}").to_pylist()[0]["rows"])
        finally:
            reader.close()


@contextmanager
def running_world(config: DemoConfig, data: Path, narration: TextIO, steps: Steps) -> Iterator[World]:
    """Start receiver and gateway on free ports, and stop them at the end."""
    with running_servers(data, EXAMPLE / "policy", "calculator", config.engine, steps) as servers:
        yield World(config, data, narration, steps, servers.otlp_grpc, servers.openai_base_url, servers.engine)


@dataclass(frozen=True)
class Servers:
    """Receiver and gateway, and where they listen."""

    receiver: Server
    gateway: Server
    otlp_grpc: str
    otlp_http: str
    openai_base_url: str
    engine: str


@contextmanager
def running_servers(data: Path, model: Path, name: str, engine: str, steps: Steps) -> Iterator[Servers]:
    """Start receiver and gateway on free ports, and stop them at the end. What is live already stays live."""
    grpc, http, gateway = free_port(), free_port(), free_port()
    receiver = spanloop_command(
        *("receiver", "run", "--data", str(data), "--grpc", f"127.0.0.1:{grpc}", "--http", f"127.0.0.1:{http}")
    )
    serve = spanloop_command(
        *("serve", "run", "--data", str(data), "--model", str(model), "--name", name),
        *("--engine", engine, "--listen", f"127.0.0.1:{gateway}"),
        *("--otlp-endpoint", f"http://127.0.0.1:{grpc}"),
    )
    with (
        running_server(
            "the receiver",
            receiver,
            ready_url=f"http://127.0.0.1:{http}/readyz",
            log=data / "receiver.log",
            timeout_s=60,
        ) as receiving,
        steps.step("starting receiver and engine"),
        running_server(
            "the gateway",
            serve,
            ready_url=f"http://127.0.0.1:{gateway}/readyz",
            log=data / "serve.log",
            timeout_s=GATEWAY_WITHIN_S,
        ) as serving,
    ):
        server = read_server(data)
        assert server is not None
        places = (f"http://127.0.0.1:{grpc}", f"http://127.0.0.1:{http}", f"{server.url}/v1")
        yield Servers(receiving, serving, *places, server.engine)
