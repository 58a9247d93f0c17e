"""Where a model is that somebody named: a directory, or an id of the Hugging Face hub that was downloaded before.

Nothing is downloaded here: what is served or trained is what its owner put on this machine.
"""

import os
import re
from pathlib import Path

from foundation.errors import SettingsError

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def find_model(named: Path) -> Path:
    """Return the directory of a model named by its directory, or by a hub id that the hub's cache holds."""
    if named.is_dir():
        return named
    name = str(named)
    if not HUB_ID.fullmatch(name):
        raise SettingsError(
            f"{named} is no directory", hint="Name the directory of a model, or the id of one downloaded."
        )
    cached = _cache() / f"models--{name.replace('/', '--')}"
    try:
        revision = (cached / "refs" / "main").read_text().strip()
    except OSError:
        revision = ""
    if revision and (snapshot := cached / "snapshots" / revision).is_dir():
        return snapshot
    raise SettingsError(
        f"{name} is neither a directory nor in the Hugging Face cache ({_cache()})",
        hint=f"Download it first: hf download {name} --exclude '*.bin' '*.pth' '*.gguf'",
    )


def downloaded_models() -> list[Path]:
    """Return the models of the Hugging Face cache that are language models with their weights here, by name."""
    found = []
    for kept in sorted(_cache().glob("models--*")):
        try:
            revision = (kept / "refs" / "main").read_text().strip()
        except OSError:
            continue
        snapshot = kept / "snapshots" / revision
        if (snapshot / "config.json").exists() and any(snapshot.glob("*.safetensors")):
            found.append(snapshot)
    return found


def model_name(model: Path) -> str:
    """Return what to call a model: its directory's name, or that on the hub for a snapshot of the hub's cache.

    >>> model_name(Path("/cache/models--Qwen--Qwen3-0.6B/snapshots/c1899de"))
    'Qwen3-0.6B'
    """
    model = model.resolve()
    return model.parents[1].name.rpartition("--")[2] if model.parent.name == "snapshots" else model.name


def is_in_snapshot_of(path: Path, model: Path) -> bool:
    """Tell whether a file is where the hub's cache keeps the files of the snapshot `model`: its links lead there."""
    model = model.resolve()
    if model.parent.name != "snapshots":
        return False
    return path.resolve().is_relative_to(model.parents[1] / "blobs")


def _cache() -> Path:
    """Return where the hub's own library keeps what it downloaded (huggingface_hub's environment variables)."""
    if cache := os.environ.get("HF_HUB_CACHE"):
        return Path(cache)
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return Path(home).expanduser() / "hub"
