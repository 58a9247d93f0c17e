"""`spanloop demo --task spider|musique|calcx`: a benchmark learned by a small pretrained model, and what came of it."""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from foundation.errors import GateRefused
from foundation.report import RunReport
from spanloop.demo.benchmarks import BENCHMARKS, Benchmark, environment, require_inputs, warm_model
from spanloop.demo.intervals import Difference, paired_difference
from spanloop.demo.plot import draw_windows
from spanloop.demo.rounds import Rows, mean_reward, running_rounds
from spanloop.demo.settings import DemoConfig
from spanloop.demo.world import progress_bar

ATTEMPTS = 2
"""At each held-out question at temperature 1."""


def learn(config: DemoConfig, *, as_json: bool) -> None:
    """Run a benchmark through the loop; raises `GateRefused` where held-out success did not rise beyond chance."""
    benchmark = BENCHMARKS[config.task]
    require_inputs(benchmark, config)
    data = (config.data or Path("demo-data") / f"{config.task}-{config.seed}").absolute()
    data.mkdir(parents=True, exist_ok=True)
    report = RunReport("demo", config.model_dump(mode="json"))
    began = time.monotonic()
    with report.phase("warm"):
        python = environment(benchmark)
        model = warm_model(benchmark, config, python)
    windows = config.sizes[0]
    with ExitStack() as stack:
        narration = stack.enter_context((data / "demo.log").open("a"))
        steps = stack.enter_context(progress_bar(total=5 + 2 * windows))
        running = running_rounds(
            benchmark, config, data=data, model=model, python=python, narration=narration, steps=steps
        )
        rounds = stack.enter_context(running)
        with report.phase("before"):
            before = rounds.heldout("before", temperature=1.0, attempts=ATTEMPTS)
            greedy_before = rounds.heldout("before-greedy", temperature=0.0, attempts=1)
        with report.phase("windows"):
            rows = [rounds.window(number) for number in range(1, windows + 1)]
        with report.phase("after"):
            after = rounds.heldout("after", temperature=1.0, attempts=ATTEMPTS)
            greedy_after = rounds.heldout("after-greedy", temperature=0.0, attempts=1)
        counts = {table: rounds.count(table) for table in ("spans", "transitions")}
        engine = rounds.servers.engine
    gain = paired_difference(before, after)
    report.update(
        task=config.task,
        restricted=not config.full,
        windows=rows,
        heldout={
            "sampled": _compared(before, after, benchmark),
            "greedy": _compared(greedy_before, greedy_after, benchmark),
        },
        interval="95 %, bootstrap over clusters of held-out questions, paired",
        cpu_s=_total([row.get("cpu_s", {}) for row in rows]),
        engine=engine,
        minutes=round((time.monotonic() - began) / 60, 2),
        data=str(data),
        **counts,
    )
    if rows:
        figure = draw_windows(rows, task=config.task, before=mean_reward(before), after=mean_reward(after))
        figure.savefig(data / "reward.png", dpi=120)
    report.write(data / "demo.json")
    if as_json:
        report.print()
    else:
        _print(report.as_dict())
    if not gain.is_gain:
        raise GateRefused(
            f"held-out reward went from {mean_reward(before):.3f} to {mean_reward(after):.3f}, which may be chance"
            f" ({_shown(gain)})",
            hint="Give it more windows or more held-out questions: --nights, --heldout.",
        )


def _compared(before: Rows, after: Rows, benchmark: Benchmark) -> dict[str, Any]:
    found: dict[str, Any] = {"attempts": len(after), "before": mean_reward(before), "after": mean_reward(after)}
    for measure in ("reward", *benchmark.measures):
        gain = paired_difference(before, after, measure=measure)
        found[f"{measure}_gain"] = {"mean": gain.mean, "low": gain.low, "high": gain.high}
    return found


def _total(windows: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return CPU-seconds of all windows by part."""
    parts = dict.fromkeys(part for window in windows for part in window)
    return {part: round(sum(window.get(part, 0.0) for window in windows), 1) for part in parts}


def _shown(gain: Difference) -> str:
    return f"{gain.mean:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]"


def _print(report: dict[str, Any]) -> None:
    console = Console()
    table = Table("window", "episodes", "reward", "gate", "seconds", box=SIMPLE, padding=(0, 0))
    for row in report["windows"]:
        seconds = row["duration_s"] + sum(row["stages_s"].values())
        figures = (str(row["window"]), str(row["episodes"]), f"{row['reward']:.3f}", row["gate"], f"{seconds:.0f}")
        table.add_row(*figures)
    console.print(table)
    for name, compared in report["heldout"].items():
        gain = Difference(**compared["reward_gain"])
        console.print(
            f"Held-out reward, {name}: {compared['before']:.3f} → {compared['after']:.3f}, {_shown(gain)}"
            f" over {compared['attempts']} attempts",
            soft_wrap=True,
            highlight=False,
            markup=False,
        )
    restricted = "the part a small model can begin with" if report["restricted"] else "the full task"
    console.print(
        f"{report['task']}, {restricted}: {report['spans']} spans, {report['minutes']:.1f} minutes, {report['engine']}."
        f" Report: {_list([Path(report['data']) / name for name in ('demo.json', 'reward.png')])}",
        soft_wrap=True,
        highlight=False,
        markup=False,
    )


def _list(paths: Sequence[Path]) -> str:
    return " and ".join(str(path) for path in paths if path.exists() or path.name == "demo.json")
