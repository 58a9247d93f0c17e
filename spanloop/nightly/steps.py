"""What each step of a night asks of a stage, and what of its work is recognised after a crash."""

import shutil
import time
from pathlib import Path
from typing import Any

from foundation.narration import get_logger
from foundation.web import places
from serve.schema import read_server
from spanloop.nightly import hosted
from spanloop.nightly.launching import launch
from spanloop.nightly.night import Night, live_model
from spanloop.nightly.settings import NightlyConfig
from spanloop.processes import run_stage
from spanloop.unread import is_set
from train.schema import MANIFEST, model_version, read_manifest

log = get_logger("nightly")

JUDGED_PART = 4
"""Of as many episodes as a window learns from, one in so many judges it."""

FEWEST_JUDGED = 16
"""With fewer held-out episodes the gate says nothing."""

ABANDONED_AFTER_S = 3600
"""Age from which a half-written checkpoint is taken for what a killed training left: writing one takes seconds."""


def perform(step: str, config: NightlyConfig, night: Night) -> dict[str, Any]:
    """Run the stage of a step; return what its report says."""
    data = str(config.data)
    match step:
        case "etl":
            return run_stage("etl", "run", "--data", data)
        case "train":
            return _train(config, night)
        case "replay":
            return hosted.judge(config, night)
        case "evaluate":
            # Its own parent is what was live when the night began, but for --model and for what was promoted meanwhile.
            judged = ["--data", data, "--checkpoint", str(night.checkpoint), "--against", str(live_model(config.data))]
            return run_stage("train", "evaluate", *judged, *_if_inconclusive(config), *_of_a_window(config))
        case "promote" if config.student is not None:
            return hosted.try_out(config, night, is_served=_is_served(config.data))
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
    return ["--inconclusive", "canary"] if _is_served(config.data) else []


def _is_served(data: Path) -> bool:
    if places.control() is not None:
        return True
    server = read_server(data)
    return server is not None and server.is_alive()


def _of_a_window(config: NightlyConfig) -> list[str]:
    """Return how many held-out episodes a window is judged by, unless the settings say it: fewer than it learned from.

    Each is read by two models, and with all there are the gate of a window cost as much as its training.
    """
    if not config.watch or is_set("train", "evaluate", "most_episodes"):
        return []
    return ["--most-episodes", str(max(FEWEST_JUDGED, config.episodes // JUDGED_PART))]


def _train(config: NightlyConfig, night: Night) -> dict[str, Any]:
    out = checkpoints_of(config)
    sweep(out, now_s=time.time())
    made = find_made(out, night)
    if made is not None:
        log.info("trained before it was interrupted", checkpoint=str(made))
        if config.student is not None:
            hosted.remember(config, made)
        return {"checkpoint": str(made), "was_recovered": True}
    if config.student is not None:
        return hosted.distil(config, night, out)
    arguments = ("train", "run", *train_arguments(config, night.model))
    if config.launch is not None:
        return launch(config.launch, arguments, config.data / "nightly" / "train.json")
    return run_stage(*arguments)


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


def checkpoints_of(config: NightlyConfig) -> Path:
    """Return where checkpoints go."""
    return config.out or config.data / "checkpoints"


def train_arguments(config: NightlyConfig, model: Path) -> list[str]:
    """Return what to tell the trainer."""
    recipe = ["--recipe", "window"] if config.watch and not is_set("train", "run", "recipe") else []
    return ["--data", str(config.data), "--model", str(model), "--out", str(checkpoints_of(config)), *recipe]
