"""The night under way, from which a run that died goes on, and what the last one learned from.

A night is kept in DATA/nightly/night.json while it is under way: the model it began with, the steps that are done and
what each of them made. A run that died goes on at the step it died in; a step that had finished its work but not yet
said so is recognised by that work. DATA/nightly/last.json says which data the last finished night learned from: a run
that finds nothing beyond it does nothing, unless that night was refused and something was mended since.
"""

import hashlib
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from etl.schema import table_files
from foundation.errors import ExitStatus, SettingsError
from foundation.files import write_atomically
from foundation.narration import get_logger
from foundation.state import encode_state, read_state
from foundation.web import places
from serve.schema import Registry, read_registry
from spanloop.nightly.settings import NightlyConfig
from spanloop.processes import run_stage
from spanloop.unread import find_settings_file
from train.schema import MANIFEST, model_version

log = get_logger("nightly")

STATE_VERSION = 1


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
            model = config.model or live_model(config.data)
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
        return None if train is None or train["checkpoint"] is None else str(train["checkpoint"])

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


def _night_path(data: Path) -> Path:
    return data / "nightly" / "night.json"


def _last_path(data: Path) -> Path:
    return data / "nightly" / "last.json"


def _read(path: Path) -> dict[str, Any] | None:
    return read_state(path, version=STATE_VERSION, hint="Remove it; every step can be run again.")


def _write(path: Path, content: dict[str, Any]) -> None:
    write_atomically(path, encode_state(content, version=STATE_VERSION))


def dataset_digest(data: Path) -> str:
    """Return the sha256 over the published transitions, names and content."""
    digest = hashlib.sha256()
    for path in table_files(data, "transitions"):
        digest.update(path.relative_to(data).as_posix().encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


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


def read_served(data: Path) -> Registry | None:
    """Return what is live: at the gateway that is named by URL, else in DATA; None before anything was served.

    Directories of a gateway elsewhere are read as those that both see, else those of the same names here, below
    DATA/checkpoints.
    """
    if places.control() is None:
        return read_registry(data)
    told = run_stage("serve", "status", "--data", str(data))["registry"]
    if told is None:
        return None
    found = Registry.model_validate(told)
    canary = found.canary
    return found.model_copy(
        update={
            "live": _here(data, found.live),
            "previous": tuple(_here(data, each) for each in found.previous),
            "canary": canary and canary.model_copy(update={"checkpoint": _here(data, canary.checkpoint)}),
        }
    )


def _here(data: Path, elsewhere: str) -> str:
    return elsewhere if Path(elsewhere).is_dir() else str(data.resolve() / "checkpoints" / Path(elsewhere).name)


def live_model(data: Path) -> Path:
    """Return the directory of the live checkpoint. Raises `SettingsError` where there is none."""
    registry = read_served(data)
    if registry is None:
        raise SettingsError(
            f"no model to train: {data} has no live checkpoint",
            hint="Name one with --model, or serve one first: spanloop serve run --data DIR --model PATH",
        )
    if not (live := Path(registry.live)).is_dir():
        raise SettingsError(
            f"the live model {registry.live_version} is gone: {live} is no directory",
            hint="Put it there (what was trained elsewhere as a copy or a link of its name), or make another live: "
            "spanloop serve rollback --data DIR, or promote.",
        )
    if places.control() is not None and (version := model_version(live)) != registry.live_version:
        raise SettingsError(
            f"{live} is {version}, and the gateway serves {registry.live_version}",
            hint="Put a copy of what it serves there.",
        )
    return live
