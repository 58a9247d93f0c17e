"""`spanloop train`: transitions in, checkpoint out."""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Group, Parameter

from foundation.directories import url_of
from foundation.errors import ExitStatus, GateRefused, SpanloopError
from foundation.narration import get_logger
from foundation.report import RunReport
from train.settings import EvaluateConfig, TrainConfig

app = App(name="train", help="Transitions in, checkpoint out.")

log = get_logger("train")

OUTPUT = Group("Output", sort_key=9)

Json = Annotated[bool, Parameter(name="--json", negative="")]


@app.command
def run(
    *,
    config: Annotated[TrainConfig, Parameter(name="*")],
    as_json: Annotated[bool, Parameter(name="--json", negative="", group=OUTPUT)] = False,
    dry_run: Annotated[bool, Parameter(negative="", group=OUTPUT)] = False,
    report_file: Annotated[Path | None, Parameter(group=OUTPUT)] = None,
) -> None:
    """Train a model on the calls that were logged, and write a checkpoint.

    Example: spanloop train run --data /var/lib/spanloop --model models/base --agents planner --json
    Example: spanloop train run --data s3://bucket/spanloop --model 20260301-night --store s3://bucket/spanloop

    Parameters
    ----------
    as_json
        Print the report on stdout.
    dry_run
        Say what would be trained, and refuse what would be refused; open no model, write nothing.
    report_file
        Write the report into this file, however the run ends: for whoever starts it through a launcher, whose exit
        status and output are not this command's.
    """
    report = RunReport("train run", config.model_dump(mode="json"))
    status = ExitStatus.FAILED
    try:
        _run(config, report, dry_run=dry_run)
        status = ExitStatus.DONE
    except SpanloopError as error:
        status = error.exit_status
        report.update(error={"message": error.message, "hint": error.hint})
        raise
    finally:
        if report_file is not None and is_first_process():
            report.write(report_file, status)
    if as_json and is_first_process():
        report.print()


def is_first_process() -> bool:
    """Tell whether this is the process that speaks for all that a launcher started."""
    return os.environ.get("RANK", "0") == "0"


def _run(config: TrainConfig, report: RunReport, *, dry_run: bool) -> None:
    if url_of(config.data) is None:
        _train(config, report, dry_run=dry_run)
        return
    from train.equipment import process_group
    from train.stored import at_hand, take_back

    with process_group():
        for checkpoint in _train(at_hand(config), report, dry_run=dry_run):
            take_back(checkpoint)


def _train(config: TrainConfig, report: RunReport, *, dry_run: bool) -> list[Path]:
    from train.plan import make_plan, read_limits

    vocabulary_size, max_length = read_limits(config.model)
    with report.phase("plan"):
        plan = make_plan(config, vocabulary_size=vocabulary_size, max_length=max_length)
    report.update(**plan.facts, checkpoint=None)
    log.info(
        "planned",
        episodes=plan.facts["num_trained_episodes"],
        calls=plan.facts["num_trained_calls"],
        sequences=plan.facts["num_sequences"],
        tokens=plan.facts["num_trained_tokens"],
    )
    for route in plan.facts["routes"]:
        log.info("routed", **route)
    if dry_run:
        return []
    if config.adapter_per_agent:
        from train.run import train_each_agent

        checkpoints = train_each_agent(config, plan, report)
        if checkpoints:
            report.update(checkpoints={agent: str(path) for agent, path in checkpoints.items()})
        return list(checkpoints.values())
    from train.run import train

    checkpoint = train(config, plan, report)
    if checkpoint is None:
        return []
    report.update(checkpoint=str(checkpoint))
    log.info("checkpoint written", path=str(checkpoint))
    return [checkpoint]


@app.command
def inspect(
    checkpoint: Path,
    /,
    *,
    metrics: tuple[str, ...] = (),
    png: Path | None = None,
    as_json: Json = False,
) -> None:
    """Show how a run went: the curves of its metrics, an update a point.

    Example: spanloop train inspect /var/lib/spanloop/checkpoints/20260101T… --metrics reward,kl_call --png curves.png

    Parameters
    ----------
    checkpoint
        Checkpoint directory.
    metrics
        Names of metrics, separated by commas. Default: the few that tell most.
    png
        Draw a picture into this file too.
    as_json
        Print the values instead of curves.
    """
    from train.metrics.curves import choose_curves, draw_picture, draw_text, read_metrics

    names = [part.strip() for name in metrics for part in name.split(",") if part.strip()]
    curves = choose_curves(read_metrics(checkpoint), names)
    if png is not None:
        draw_picture(curves, png)
        log.info("picture written", path=str(png))
    if as_json:
        json.dump(curves, sys.stdout)
        sys.stdout.write("\n")
    else:
        sys.stdout.write(draw_text(curves, width=shutil.get_terminal_size().columns) + "\n")


@app.command
def evaluate(*, config: Annotated[EvaluateConfig, Parameter(name="*")], as_json: Json = False) -> None:
    """Judge a checkpoint on the held-out calls, and write the verdict into its manifest.

    Exit status 3 when the checkpoint is refused, or when nothing can be said and --inconclusive is refuse.

    Example: spanloop train evaluate --data /var/lib/spanloop --checkpoint /var/lib/spanloop/checkpoints/20260101T…

    Parameters
    ----------
    as_json
        Print the report on stdout.
    """
    from train.engine.checkpoint import update_gate
    from train.gate.evaluate import evaluate as judge_checkpoint

    report = RunReport("train evaluate", config.model_dump(mode="json"))
    with report.phase("evaluate"):
        manifest, gate = judge_checkpoint(config)
    update_gate(config.checkpoint, manifest, gate)
    report.update(checkpoint=str(config.checkpoint), gate=gate)
    log.info("evaluated", verdict=gate["verdict"], reason=gate["reason"])
    is_done = gate["passed"] or (gate["verdict"] == "inconclusive" and config.inconclusive == "canary")
    if as_json:
        report.print(ExitStatus.DONE if is_done else ExitStatus.REFUSED)
    if not is_done:
        raise GateRefused(f"{config.checkpoint.name}: {gate['verdict']}: {gate['reason']}", hint=gate["hint"])
