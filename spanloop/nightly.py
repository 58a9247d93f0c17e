"""One night: ETL, training, evaluation and promotion, each a process of its own, resumable after a crash at any step.

A night is one window of the ETL. Its steps and what each of them made are kept in DATA/nightly/night.json, so a run
that died goes on at the step it died in, and a run after a finished night starts the next one.
"""

import json
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from pydantic import Field

from foundation.errors import ExitStatus, SettingsError, SpanloopError
from foundation.files import exclusive, write_json
from foundation.narration import get_logger
from foundation.report import RunReport
from foundation.settings import DEFAULT_DATA, Settings
from serve.schema import read_registry
from spanloop.processes import StageFailed, run_stage

log = get_logger("nightly")

STEPS = ("etl", "train", "evaluate", "promote")


class NightlyConfig(Settings):
    """Settings of one night. Every stage reads its own settings from the environment and spanloop.toml as ever."""

    data: Path = Field(default=DEFAULT_DATA)
    """Directory that holds everything: spans, dataset, checkpoints, registry."""

    model: Path | None = None
    """Model to train further. Default: the live checkpoint of the registry."""

    out: Path | None = None
    """Where checkpoints go. Default: DATA/checkpoints."""


def nightly(
    *,
    config: Annotated[NightlyConfig, Parameter(name="*")] = NightlyConfig(),
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Turn what arrived since the last night into a better model: etl, train, evaluate, promote.

    Example: spanloop nightly --data /var/lib/spanloop --json

    Parameters
    ----------
    as_json
        Print the report on stdout.
    dry_run
        Say what every stage would do and write nothing.
    """
    report = RunReport("nightly", config.model_dump(mode="json"))
    with exclusive(config.data / "nightly" / "lock", purpose="spanloop nightly"):
        if dry_run:
            report.update(**_rehearse(config))
        else:
            _run(config, report)
    if as_json:
        report.print()


def _rehearse(config: NightlyConfig) -> dict[str, Any]:
    etl = run_stage("etl", "run", "--data", str(config.data), "--dry-run")
    train = run_stage("train", "run", *_train_arguments(config), "--dry-run")
    return {"etl": etl, "train": train, "checkpoint": None}


def _run(config: NightlyConfig, report: RunReport) -> None:
    night = Night(config.data / "nightly" / "night.json")
    status = ExitStatus.FAILED
    try:
        for step in STEPS:
            if step in night.done:
                log.info("already done", step=step)
                continue
            with report.phase(step):
                night.finish(step, _perform(step, config, night))
        status = ExitStatus.DONE
    except StageFailed as error:
        status = error.exit_status
        if status is ExitStatus.REFUSED:
            night.close()  # the stage has judged this night's data or model: running again would only repeat it
        raise
    finally:
        report.update(checkpoint=night.checkpoint, **night.done)
        report.write(config.data / "nightly" / "runs" / f"{report.run_id}.json", status)
    log.info("night finished", checkpoint=night.checkpoint)
    night.close()


class Night:
    """The steps of the night under way and what they made, kept on disk as they finish."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self.done: dict[str, Any] = json.loads(path.read_bytes())
        except FileNotFoundError:
            self.done = {}
        except ValueError as error:
            raise SpanloopError(
                f"{path} is damaged: {error}", hint="Remove it; every step can be run again."
            ) from error

    @property
    def checkpoint(self) -> str | None:
        """Directory of the checkpoint this night made, once there is one."""
        train = self.done.get("train")
        return None if train is None else str(train["checkpoint"])

    def finish(self, step: str, result: dict[str, Any]) -> None:
        """Record that a step is done."""
        self.done[step] = result
        write_json(self._path, self.done)

    def close(self) -> None:
        """Forget the night, so that the next run starts a new one."""
        self._path.unlink(missing_ok=True)


def _perform(step: str, config: NightlyConfig, night: Night) -> dict[str, Any]:
    data = str(config.data)
    match step:
        case "etl":
            return run_stage("etl", "run", "--data", data)
        case "train":
            return run_stage("train", "run", *_train_arguments(config))
        case "evaluate":
            return run_stage("train", "evaluate", "--data", data, "--checkpoint", str(night.checkpoint))
        case "promote":
            return run_stage("serve", "promote", "--data", data, str(night.checkpoint))
    raise AssertionError(step)


def _train_arguments(config: NightlyConfig) -> list[str]:
    model = config.model or _live_model(config.data)
    out = config.out or config.data / "checkpoints"
    return ["--data", str(config.data), "--model", str(model), "--out", str(out)]


def _live_model(data: Path) -> Path:
    registry = read_registry(data)
    if registry is None:
        raise SettingsError(
            f"no model to train: {data} has no live checkpoint",
            hint="Name one with --model, or serve one first: spanloop serve run --data DIR --model PATH",
        )
    return Path(registry.live)
