"""One night: ETL, training, evaluation and promotion, each a process of its own, resumable after a crash at any step.

A night is kept in DATA/nightly/night.json while it is under way: the model it began with, the steps that are done and
what each of them made. A run that died goes on at the step it died in; a step that had finished its work but not yet
said so is recognised by that work. DATA/nightly/last.json says which data the last finished night learned from: a run
that finds nothing beyond it does nothing, unless that night was refused and something was mended since.
"""

import contextlib
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from pydantic import Field

from etl.schema import table_files
from foundation.errors import ExitStatus, SettingsError, SpanloopError
from foundation.files import exclusive, write_atomically
from foundation.http import answers
from foundation.models import find_model
from foundation.narration import get_logger
from foundation.report import RunReport
from foundation.settings import DEFAULT_DATA, Settings
from foundation.state import encode_state, read_state
from serve.schema import read_registry, read_server
from spanloop.processes import StageFailed, run_stage, stages_run_by
from spanloop.retention import prune
from spanloop.unread import find_settings_file, is_set
from spanloop.warm import WarmStages
from spanloop.windows import Readiness, watch
from train.schema import MANIFEST, model_version, read_manifest

log = get_logger("nightly")

STATE_VERSION = 1

STEPS = ("etl", "train", "evaluate", "promote")

ABANDONED_AFTER_S = 3600
"""Age from which a half-written checkpoint is taken for what a killed training left: writing one takes seconds."""


class NightlyConfig(Settings):
    """Settings of one night. Every stage reads its own settings from the environment and spanloop.toml as ever."""

    data: Path = Field(default=DEFAULT_DATA)
    """Directory that holds everything: spans, dataset, checkpoints, registry."""

    model: Path | None = None
    """Model to train further, a directory or the id of a downloaded one. Default: the live checkpoint of the registry.
    Whichever it is, what comes of it is compared with what is live."""

    out: Path | None = None
    """Where checkpoints go. Default: DATA/checkpoints."""

    canary: bool = False
    """Try the checkpoint on a share of the calls (`spanloop serve canary`) instead of making it live at once. Needs a
    running gateway; while the canary of another night is under way, status 75, and the next run goes on from there.
    A checkpoint of which the held-out calls say too little is tried so anyway, where a gateway runs."""

    margin: float = Field(default=0.1, gt=0, lt=1)
    """Margin of non-inferiority of such a canary: it gets all calls once it is known to earn no less than this below
    the live model, as a part of the reward's range."""

    keep: int | None = Field(default=None, ge=1)
    """Newest checkpoints to keep once a night is promoted, beside whatever is live, may be rolled back to, is being
    tried or is an adapter's base. Of the others the weights are removed. Default: all are kept."""

    watch: bool = False
    """Go on for ever: a window of training as soon as enough episodes of the live model arrived, and again."""

    episodes: int = Field(default=128, ge=1)
    """With `watch`: new rewarded episodes of the live model that make a window."""

    every_s: float | None = Field(default=None, gt=0)
    """With `watch`: seconds after which fewer make one too. Default: never."""

    windows: int | None = Field(default=None, ge=1)
    """With `watch`: end after this many windows. Default: never."""

    poll_s: float = Field(default=10, gt=0)
    """With `watch`: seconds between looks at what arrived."""

    warm: bool = True
    """With `watch`: keep a process that has imported everything, of which every stage is a fork."""


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
    if config.model is not None:
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
    if read_registry(config.data) is None:
        model = config.model or "PATH"
        raise SettingsError(
            f"nothing is served from {config.data}, so that nothing a night makes could be promoted",
            hint=f"Serve a model first: spanloop serve run --data {config.data} --model {model}",
        )


def _rehearse(config: NightlyConfig) -> dict[str, Any]:
    etl = run_stage("etl", "run", "--data", str(config.data), "--dry-run")
    train = run_stage("train", "run", *_train_arguments(config, config.model or _live_model(config.data)), "--dry-run")
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
    try:
        for step in STEPS:
            if step in night.done:
                log.info("already done", step=step)
                continue
            if step == "train" and night.has_nothing_new():
                log.info("nothing new since the last night")
                break
            if step == "train" and is_ready is not None and not is_ready():
                break
            with report.phase(step):
                night.finish(step, _perform(step, config, night))
        status = ExitStatus.DONE
        night.close(status)
        registry = read_registry(config.data)
        if config.keep is not None and night.checkpoint is not None and registry is not None:
            report.update(pruned=prune(_out(config), registry, keep=config.keep))
    except StageFailed as error:
        status = error.exit_status
        if status is ExitStatus.REFUSED:
            night.close(status)  # the stage has judged this night's data or model: running again would only repeat it
        raise
    finally:
        report.update(checkpoint=night.checkpoint, **night.done)
        if is_ready is None or "train" in night.done or status is not ExitStatus.DONE:
            report.write(config.data / "nightly" / "runs" / f"{report.run_id}.json", status)
    if night.checkpoint is not None:
        log.info("night finished", checkpoint=night.checkpoint)


class Night:
    """The night under way: what it began with, which steps are done, what they made."""

    def __init__(
        self,
        config: NightlyConfig,
        model: Path,
        began_time: str,
        *,
        dataset: str | None = None,
        done: dict[str, Any],
    ) -> None:
        self._data = config.data
        self._asked = settings_digest(config, model)
        self._dataset = dataset
        """Digest of the transitions the night learns from, once the ETL is done."""

        self.model = model
        """Where training starts: settled when the night begins, whatever becomes live before it ends."""

        self.began_time = began_time
        self.done = done

    @classmethod
    def resume(cls, config: NightlyConfig) -> "Night":
        """Return the night under way, or begin one."""
        kept = _read(_night_path(config.data))
        if kept is None:
            model = config.model or _live_model(config.data)
            night = cls(config, model, datetime.now(UTC).isoformat(), done={})
            night._write()
            return night
        night = cls(config, Path(kept["model"]), kept["began_time"], dataset=kept["dataset"], done=kept["done"])
        if night.checkpoint is not None and not (Path(night.checkpoint) / MANIFEST).exists():
            log.warning("the checkpoint of the night under way is gone; training again", checkpoint=night.checkpoint)
            night.done = {step: result for step, result in night.done.items() if step == "etl"}
        if config.model is not None and "train" not in night.done:
            night.model = config.model  # what was wrong may have been the model
        log.info("going on with the night that began", time=night.began_time, done=list(night.done))
        return night

    @property
    def checkpoint(self) -> str | None:
        """Directory of the checkpoint this night made, once there is one."""
        train = self.done.get("train")
        return None if train is None else str(train["checkpoint"])

    def finish(self, step: str, result: dict[str, Any]) -> None:
        """Record that a step is done; with the ETL, also which data the night learns from."""
        self.done[step] = result
        if step == "etl":
            self._dataset = dataset_digest(self._data)
        self._write()

    def has_nothing_new(self) -> bool:
        """Tell whether the last night learned from the very data there is now, and nothing was mended since."""
        last = _read(_last_path(self._data))
        if last is None or last["dataset"] != self._dataset:
            return False
        # What was refused may pass with another setting, or from another model.
        return last["status"] != ExitStatus.REFUSED.name.lower() or last.get("asked") == self._asked

    def close(self, status: ExitStatus) -> None:
        """Say what the night learned from, then forget it, so that the next run starts a new one."""
        # In this order: dying between the two lines repeats a promotion that changes nothing, and closes the night.
        if "train" in self.done or status is ExitStatus.REFUSED:
            last = {
                "dataset": self._dataset,
                "status": status.name.lower(),
                "asked": self._asked,
                "checkpoint": self.checkpoint,
                "ended_time": datetime.now(UTC).isoformat(),
            }
            _write(_last_path(self._data), last)
        _night_path(self._data).unlink(missing_ok=True)

    def _write(self) -> None:
        kept = {
            "model": str(self.model),
            "began_time": self.began_time,
            "dataset": self._dataset,
            "done": self.done,
        }
        _write(_night_path(self._data), kept)


def dataset_digest(data: Path) -> str:
    """Return the sha256 over the published transitions, names and content."""
    digest = hashlib.sha256()
    for path in table_files(data, "transitions"):
        digest.update(path.relative_to(data).as_posix().encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _night_path(data: Path) -> Path:
    return data / "nightly" / "night.json"


def _last_path(data: Path) -> Path:
    return data / "nightly" / "last.json"


def _read(path: Path) -> dict[str, Any] | None:
    return read_state(path, version=STATE_VERSION, hint="Remove it; every step can be run again.")


def _write(path: Path, content: dict[str, Any]) -> None:
    write_atomically(path, encode_state(content, version=STATE_VERSION))


def settings_digest(config: NightlyConfig, model: Path) -> str:
    """Return the sha256 over everything a night is asked to do: its own settings and those its stages will read."""
    settings_file = find_settings_file(Path.cwd())
    asked = {
        "night": config.model_dump(mode="json"),
        "model": str(model),
        "environment": {name: value for name, value in os.environ.items() if name.startswith("SPANLOOP_")},
        "file": "" if settings_file is None else settings_file.read_text(errors="replace"),
    }
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def _perform(step: str, config: NightlyConfig, night: Night) -> dict[str, Any]:
    data = str(config.data)
    match step:
        case "etl":
            return run_stage("etl", "run", "--data", data)
        case "train":
            return _train(config, night)
        case "evaluate":
            # Its own parent is what was live when the night began, but for --model and for what was promoted meanwhile.
            judged = ["--data", data, "--checkpoint", str(night.checkpoint), "--against", str(_live_model(config.data))]
            return run_stage("train", "evaluate", *judged, *_if_inconclusive(config))
        case "promote":
            gate = night.done["evaluate"].get("gate") or {}
            if gate.get("verdict") == "inconclusive" and not gate.get("passed"):
                log.info("the gate leaves it to a canary", reason=gate.get("reason"))
                return run_stage(
                    "serve", "canary", "--data", data, "--margin", str(config.margin), str(night.checkpoint)
                )
            return run_stage("serve", "canary" if config.canary else "promote", "--data", data, str(night.checkpoint))
    raise AssertionError(step)


def _if_inconclusive(config: NightlyConfig) -> list[str]:
    """Return what to tell the gate of a checkpoint it can say too little of, unless the settings say it already.

    A window's step is within its KL budget and the next one follows at once, so it is accepted; a night's checkpoint is
    for users to judge where a gateway serves some.
    """
    if is_set("train", "evaluate", "inconclusive"):
        return []
    if config.watch and not config.canary:
        return ["--inconclusive", "accept"]
    server = read_server(config.data)
    is_served = server is not None and answers(f"{server.url}/healthz")
    return ["--inconclusive", "canary"] if is_served else []


def _train(config: NightlyConfig, night: Night) -> dict[str, Any]:
    out = _out(config)
    sweep(out, now_s=time.time())
    made = find_made(out, night)
    if made is not None:
        log.info("trained before it was interrupted", checkpoint=str(made))
        return {"checkpoint": str(made), "was_recovered": True}
    return run_stage("train", "run", *_train_arguments(config, night.model))


def find_made(out: Path, night: Night) -> Path | None:
    """Return the checkpoint this night's training had finished when the night was interrupted, if it had.

    That is one made since the night began, from the model it began with. Should somebody have trained by hand
    meanwhile, from the same model, either will do.
    """
    if not out.is_dir():
        return None
    for path in sorted(out.iterdir(), reverse=True):
        if path.name.startswith(".") or not (path / MANIFEST).exists():
            continue
        manifest = read_manifest(path)
        if manifest.created_time >= night.began_time and manifest.parent == model_version(night.model):
            return path
    return None


def sweep(out: Path, *, now_s: float) -> None:
    """Remove what trainings that were killed while writing left behind."""
    for path in out.glob(".partial-*"):
        if now_s - path.stat().st_mtime > ABANDONED_AFTER_S:
            shutil.rmtree(path)
            log.info("removed what a killed training left", path=str(path))


def _out(config: NightlyConfig) -> Path:
    return config.out or config.data / "checkpoints"


def _train_arguments(config: NightlyConfig, model: Path) -> list[str]:
    recipe = ["--recipe", "window"] if config.watch and not is_set("train", "run", "recipe") else []
    return ["--data", str(config.data), "--model", str(model), "--out", str(_out(config)), *recipe]


def _live_model(data: Path) -> Path:
    registry = read_registry(data)
    if registry is None:
        raise SettingsError(
            f"no model to train: {data} has no live checkpoint",
            hint="Name one with --model, or serve one first: spanloop serve run --data DIR --model PATH",
        )
    if not (live := Path(registry.live)).is_dir():
        raise SettingsError(
            f"the live model {registry.live_version} is gone: {live} is no directory",
            hint="Put it back, or make another live: spanloop serve rollback --data DIR, or promote.",
        )
    return live
