"""One night: ETL, training, evaluation and promotion, each a process of its own; it goes on after a crash."""

import contextlib
from collections.abc import Callable
from typing import Annotated, Any

from cyclopts import Parameter

from foundation.directories import check_directory
from foundation.errors import ExitStatus, SettingsError, SpanloopError
from foundation.files import exclusive
from foundation.models import find_model
from foundation.narration import get_logger
from foundation.report import RunReport
from spanloop.nightly.device import Device
from spanloop.nightly.hosted import distil_arguments, student_of
from spanloop.nightly.night import Night, live_model, read_served
from spanloop.nightly.retention import prune
from spanloop.nightly.settings import NightlyConfig
from spanloop.nightly.steps import checkpoints_of, perform, train_arguments
from spanloop.nightly.windows import Readiness, watch
from spanloop.processes import StageFailed, run_stage, stages_run_by
from spanloop.warm import WarmStages

log = get_logger("nightly")

STEPS = ("etl", "train", "evaluate", "promote")
STEPS_OF_STUDENT = ("etl", "train", "replay", "promote")
"""Where agents ask a hosted model: what trains is a distillation, what judges a replay."""


def nightly(
    *,
    config: Annotated[NightlyConfig, Parameter(name="*")] = NightlyConfig(),
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Turn what arrived since the last night into a better model: etl, train, evaluate, promote.

    Exit status 0 also when nothing arrived; 3 when a gate refused, and the live model stays. After a crash, run it
    again: it goes on where it was.

    Example: spanloop nightly --data /var/lib/spanloop --json

    Parameters
    ----------
    as_json
        Print the report on stdout.
    dry_run
        Say what every stage would do and write nothing.
    """
    check_directory(config.data)
    if config.student is not None:
        if config.model is not None or config.watch or config.launch is not None:
            raise SettingsError(
                "--student has nights of its own, without --model, --watch and --launch",
                hint="Leave them out: a student goes on from the student of the night before.",
            )
        config = config.model_copy(update={"student": find_model(config.student)})
        config = config.model_copy(update={"model": student_of(config)})
    elif config.model is not None:
        config = config.model_copy(update={"model": find_model(config.model)})
    if config.watch and not dry_run:
        _require_served(config)
        _watch(config)
        return
    report = RunReport("nightly", config.model_dump(mode="json"))
    status = ExitStatus.DONE
    try:
        _require_served(config)
        with exclusive(config.data / "nightly" / "lock", purpose="spanloop nightly"):
            if dry_run:
                report.update(**_rehearse(config))
            else:
                _run(config, report)
    except SpanloopError as error:
        status = error.exit_status
        said = error.said if isinstance(error, StageFailed) else ""
        report.update(error={"message": error.message, "hint": error.hint, "said": said})
        raise
    finally:
        if as_json:
            report.print(status)


def _require_served(config: NightlyConfig) -> None:
    """Check that there is something to promote to, before hours are spent on what to promote."""
    if config.student is None and read_served(config.data) is None:
        model = config.model or "PATH"
        raise SettingsError(
            f"nothing is served from {config.data}, so that nothing a night makes could be promoted",
            hint=f"Serve a model first: spanloop serve run --data {config.data} --model {model}",
        )


def _rehearse(config: NightlyConfig) -> dict[str, Any]:
    etl = run_stage("etl", "run", "--data", str(config.data), "--dry-run")
    if config.student is not None:
        taken = run_stage("distill", *distil_arguments(config, config.model or config.student), "--dry-run")
        return {"etl": etl, "train": taken, "checkpoint": None}
    train = run_stage("train", "run", *train_arguments(config, config.model or live_model(config.data)), "--dry-run")
    return {"etl": etl, "train": train, "checkpoint": None}


def _watch(config: NightlyConfig) -> None:
    """Make windows until told to end."""
    is_ready = Readiness(config.data, config.episodes, config.every_s)

    def window() -> bool:
        report = RunReport("nightly", config.model_dump(mode="json"))
        with exclusive(config.data / "nightly" / "lock", purpose="spanloop nightly"):
            _run(config, report, is_ready=is_ready)
        return report.as_dict().get("checkpoint") is not None

    with stages_run_by(WarmStages().run) if config.warm else contextlib.nullcontext():
        made = watch(window, poll_s=config.poll_s, windows=config.windows)
    log.info("windows finished", made=made)


def _run(config: NightlyConfig, report: RunReport, *, is_ready: Callable[[], bool] | None = None) -> None:
    """Go through the steps of a night; of a window only where it is time for one, and else leave nothing behind."""
    night = Night.resume(config)
    status = ExitStatus.FAILED
    device = Device(config)
    try:
        for step in STEPS if config.student is None else STEPS_OF_STUDENT:
            if step in night.done:
                log.info("already done", step=step)
                continue
            if step == "train" and night.has_nothing_new():
                log.info("nothing new since the last night")
                break
            if step == "train" and is_ready is not None and not is_ready():
                break
            device.before(step)
            with report.phase(step):
                night.finish(step, perform(step, config, night))
            if step == "train" and night.checkpoint is None:
                break  # too little was new
        status = ExitStatus.DONE
        night.close(status)
        if config.keep is not None and night.checkpoint is not None and (registry := read_served(config.data)):
            report.update(pruned=prune(checkpoints_of(config), registry, keep=config.keep))
    except StageFailed as error:
        status = error.exit_status
        if status is ExitStatus.REFUSED:
            night.close(status)  # the stage has judged this night's data or model: running again would only repeat it
        raise
    finally:
        device.give_back()
        report.update(checkpoint=night.checkpoint, **night.done)
        if is_ready is None or "train" in night.done or status is not ExitStatus.DONE:
            report.write(config.data / "nightly" / "runs" / f"{report.run_id}.json", status)
    if night.checkpoint is not None:
        log.info("night finished", checkpoint=night.checkpoint)
