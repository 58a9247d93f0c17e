"""`spanloop demo`: collect episodes, train on what came out of the spans, promote, and see whether it helped.

Every part runs as its users run it, each in a process of its own: receiver, gateway with its engine, the agent, and
`spanloop nightly`. The demo only starts them, counts and draws.
"""

import time
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from foundation.errors import GateRefused, SettingsError
from foundation.report import RunReport
from spanloop.demo.learn import learn
from spanloop.demo.plot import draw, save
from spanloop.demo.settings import DemoConfig
from spanloop.demo.significance import paired_p_value
from spanloop.demo.world import EXAMPLE, progress_bar, running_world

SIGNIFICANCE = 0.05
"""Largest p-value at which the demo says that the agent got better."""


def demo(
    *,
    config: Annotated[DemoConfig, Parameter(name="*")] = DemoConfig(),
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Watch an agent get better from its own traces: collect, etl, train, evaluate, promote, night after night.

    Ends with status 0 only if success on problems it never trained on rose by more than chance (exact paired test).

    With `--task` a benchmark instead, on a small pretrained model (docs/tasks.md): status 0 only if the 95 % interval
    of the held-out gain lies above 0.

    Example: spanloop demo --quick

    Parameters
    ----------
    as_json
        Print the report on stdout.
    """
    if config.task != "calculator":
        learn(config, as_json=as_json)
        return
    if not (EXAMPLE / "policy" / "config.json").exists():
        raise SettingsError(
            f"{EXAMPLE} has no policy", hint="It comes with the wheel and with a checkout: install spanloop anew."
        )
    data = (config.data or Path("demo-data") / f"{datetime.now(UTC):%Y%m%dT%H%M%S}").absolute()
    data.mkdir(parents=True, exist_ok=True)
    report = RunReport("demo", config.model_dump(mode="json"))
    began = time.monotonic()
    nights, _, heldout = config.sizes
    with ExitStack() as stack:
        narration = stack.enter_context((data / "demo.log").open("a"))
        progress = stack.enter_context(progress_bar(total=3 + 2 * nights))
        world = stack.enter_context(running_world(config, data, narration, progress))
        before = world.attempt_heldout(heldout)
        rows = [world.live_through(night) for night in range(1, nights + 1)]
        after = world.attempt_heldout(heldout)
        spans, engine = world.count("spans"), world.engine
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
        engine=engine,
        minutes=round(minutes, 2),
        data=str(data),
        plots=[str(png), str(page)],
    )
    report.write(data / "demo.json")
    if as_json:
        report.print()
    else:
        _print_summary(report.as_dict())
    if config.page:
        _show(data)
    if p_value >= SIGNIFICANCE:
        raise GateRefused(
            f"held-out success went from {success_before:.3f} to {success_after:.3f}, which may be chance"
            f" (p = {p_value:.3f})",
            hint="Give it more nights or more problems: --nights, --problems.",
        )


def _show(data: Path) -> None:
    """Serve the page over what the demo left, until Ctrl-C."""
    from spanloop.page.server import run
    from spanloop.page.settings import PageConfig

    run(PageConfig(data=data))


def _mean(results: list[bool]) -> float:
    return sum(results) / len(results)


def _print_summary(report: dict[str, Any]) -> None:
    console = Console()
    table = Table(
        "night",
        "episodes",
        "spans",
        "transitions",
        "train",
        "held-out",
        "gate",
        "checkpoint",
        box=SIMPLE,
        padding=(0, 0),
    )
    for night in report["nights"]:
        counts = (str(night[key]) for key in ("night", "episodes", "spans", "transitions"))
        rewards = (f"{night[key]:.3f}" for key in ("train_reward", "heldout_reward"))
        table.add_row(*counts, *rewards, night["gate"], night["checkpoint"].rsplit("-", 1)[-1])
    console.print(table)
    console.print(
        f"Held-out success {report['heldout_before']:.3f} → {report['heldout_after']:.3f}"
        f" on {report['heldout_problems']} problems never trained on (p = {report['p_value']:.2g}, {report['test']}),"
        f" {report['spans']} spans, {report['minutes']:.1f} minutes on {report['engine']}.",
        soft_wrap=True,
        highlight=False,
        markup=False,
    )
    console.print(
        f"Plot: {report['plots'][0]} and {report['plots'][1]}\nTry:", soft_wrap=True, highlight=False, markup=False
    )
    for statement in STATEMENTS:
        console.print(
            f'  spanloop sql --data {report["data"]} "{statement}"', soft_wrap=True, highlight=False, markup=False
        )
    console.print(
        f"See it at http://127.0.0.1:8317/: spanloop page --data {report['data']}",
        soft_wrap=True,
        highlight=False,
        markup=False,
    )


STATEMENTS = (
    "select policy_version, avg(outcome) as success, count(*) as calls from transitions group by all order by 2",
    "select name, count(*) as calls, count(error) as errors from tool_calls group by all",
    "select name, count(*) as spans, avg(end_ns - start_ns) / 1e6 as ms from spans group by all order by 2 desc",
)
"""To try on what the demo leaves behind."""
