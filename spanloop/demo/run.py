"""`spanloop demo`: collect episodes, train on what came out of the spans, promote, and see whether it helped.

Every part runs as its users run it, each in a process of its own: receiver, gateway with its engine, the agent, and
`spanloop nightly`. The demo only starts them, counts and draws.
"""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, TextIO

from cyclopts import Parameter
from pydantic import Field
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from etl.schema import table_files
from foundation.errors import ExitStatus, GateRefused, SettingsError
from foundation.narration import get_logger
from foundation.report import RunReport
from foundation.settings import Settings
from receiver.schema import connect
from serve.schema import read_registry, read_server
from spanloop.demo.plot import draw, save
from spanloop.demo.significance import paired_p_value
from spanloop.processes import StageFailed, free_port, run_program, run_stage, running_server, spanloop_command

log = get_logger("demo")

EXAMPLE = Path(__file__).parents[2] / "examples" / "calculator"
"""The agent, its problems and the warm-started policy."""

SIGNIFICANCE = 0.05
"""Largest p-value at which the demo says that the agent got better."""

GATE_SEED = 1_000_000
"""Draws the held-out problems of the nights apart from those of the final test."""


class DemoConfig(Settings):
    """Settings of the demo. The defaults fit two cores and fifteen minutes."""

    data: Path | None = None
    """Directory everything is kept in. Default: demo-data/<UTC time>."""

    quick: bool = False
    """Fewer nights and episodes: at most three minutes."""

    engine: Literal["auto", "vllm", "embedded"] = "auto"
    """What runs the model: vLLM, the embedded engine, or vLLM where it is installed."""

    nights: int | None = Field(default=None, ge=1)
    """Number of nights. Default: 4; quick: 2."""

    problems: int | None = Field(default=None, ge=8)
    """Problems tried each night. Default: 256; quick: 160."""

    attempts: int = Field(default=2, ge=2)
    """Attempts at each problem of a night; each is compared with the others. Many problems teach more than many
    attempts (docs/training.md)."""

    heldout: int | None = Field(default=None, ge=32)
    """Held-out problems, tried once before the first night and once after the last. Default: 256; quick: 160."""

    concurrency: int = Field(default=32, ge=1)
    """Episodes under way at once."""

    seed: int = 0
    """Chooses the problems."""

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Nights, problems a night and held-out problems, defaults filled in."""
        nights, problems, heldout = (2, 160, 160) if self.quick else (4, 256, 256)
        return self.nights or nights, self.problems or problems, self.heldout or heldout


def demo(
    *,
    config: Annotated[DemoConfig, Parameter(name="*")] = DemoConfig(),
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Watch an agent get better from its own traces: collect, etl, train, evaluate, promote, night after night.

    Ends with status 0 only if success on problems it never trained on rose by more than chance (exact paired test).

    Example: spanloop demo --quick

    Parameters
    ----------
    as_json
        Print the report on stdout.
    """
    if not (EXAMPLE / "policy" / "config.json").exists():
        raise SettingsError(f"{EXAMPLE} has no policy", hint="The demo runs from a checkout of the repository.")
    data = (config.data or Path("demo-data") / f"{datetime.now(UTC):%Y%m%dT%H%M%S}").absolute()
    data.mkdir(parents=True, exist_ok=True)
    report = RunReport("demo", config.model_dump(mode="json"))
    began = time.monotonic()
    nights, _, heldout = config.sizes
    with ExitStack() as stack:
        narration = stack.enter_context((data / "demo.log").open("a"))
        progress = stack.enter_context(_progress(total=3 + 2 * nights))
        world = stack.enter_context(_world(config, data, narration, progress))
        before = world.attempt_heldout(heldout)
        rows = [world.live_through(night) for night in range(1, nights + 1)]
        after = world.attempt_heldout(heldout)
        spans = world.count("spans")
    p_value = paired_p_value(before, after)
    minutes = (time.monotonic() - began) / 60
    success_before, success_after = _mean(before), _mean(after)
    png, page = save(draw(rows, before=success_before, after=success_after), data, rows=rows)
    report.update(
        nights=rows,
        heldout_before=success_before,
        heldout_after=success_after,
        heldout_problems=heldout,
        p_value=p_value,
        test="exact one-sided McNemar test over paired held-out problems",
        spans=spans,
        minutes=round(minutes, 2),
        data=str(data),
        plots=[str(png), str(page)],
    )
    report.write(data / "demo.json")
    if as_json:
        report.print()
    else:
        _print_summary(report.as_dict())
    if p_value >= SIGNIFICANCE:
        raise GateRefused(
            f"held-out success went from {success_before:.3f} to {success_after:.3f}, which may be chance"
            f" (p = {p_value:.3f})",
            hint="Give it more nights or more problems: --nights, --problems.",
        )


def _mean(results: list[bool]) -> float:
    return sum(results) / len(results)


@contextmanager
def _progress(total: int) -> Iterator["Steps"]:
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
            attempts = ("--attempts", str(self.config.attempts))
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
def _world(config: DemoConfig, data: Path, narration: TextIO, steps: Steps) -> Iterator[World]:
    """Start receiver and gateway on free ports, and stop them at the end."""
    grpc, http, gateway = free_port(), free_port(), free_port()
    receiver = spanloop_command(
        *("receiver", "run", "--data", str(data), "--grpc", f"127.0.0.1:{grpc}", "--http", f"127.0.0.1:{http}")
    )
    serve = spanloop_command(
        *("serve", "run", "--data", str(data), "--model", str(EXAMPLE / "policy"), "--name", "calculator"),
        *("--engine", config.engine, "--listen", f"127.0.0.1:{gateway}"),
        *("--otlp-endpoint", f"http://127.0.0.1:{grpc}"),
    )
    with (
        running_server(
            "the receiver",
            receiver,
            ready_url=f"http://127.0.0.1:{http}/readyz",
            log=data / "receiver.log",
            timeout_s=60,
        ),
        steps.step("starting receiver and engine"),
        running_server(
            "the gateway",
            serve,
            ready_url=f"http://127.0.0.1:{gateway}/readyz",
            log=data / "serve.log",
            timeout_s=300,
        ),
    ):
        server = read_server(data)
        assert server is not None
        yield World(config, data, narration, steps, f"http://127.0.0.1:{grpc}", f"{server.url}/v1", server.engine)


def _print_summary(report: dict[str, Any]) -> None:
    console = Console()
    table = Table(title="Reward per night", title_justify="left")
    for key in report["nights"][0]:
        table.add_column(key.replace("_", " "), justify="right")
    for row in report["nights"]:
        table.add_row(*(f"{value:.3f}" if isinstance(value, float) else str(value) for value in row.values()))
    console.print(table)
    console.print(
        f"Held-out success {report['heldout_before']:.3f} → {report['heldout_after']:.3f}"
        f" on {report['heldout_problems']} problems never trained on (p = {report['p_value']:.2g}, {report['test']}),"
        f" {report['spans']} spans, {report['minutes']:.1f} minutes.",
        soft_wrap=True,
        highlight=False,
    )
    console.print(f"Plot: {report['plots'][0]} and {report['plots'][1]}\nTry:", soft_wrap=True, highlight=False)
    for statement in STATEMENTS:
        console.print(f'  spanloop sql --data {report["data"]} "{statement}"', soft_wrap=True, highlight=False)


STATEMENTS = (
    "select policy_version, avg(outcome) as success, count(*) as calls from transitions group by all order by 2",
    "select name, count(*) as calls, count(error) as errors from tool_calls group by all",
    "select name, count(*) as spans, avg(end_ns - start_ns) / 1e6 as ms from spans group by all order by 2 desc",
)
"""To try on what the demo leaves behind."""
