"""Checkpoint directories: written beside their final place, manifest last, renamed when whole."""

import os
import shutil
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from foundation.errors import SettingsError, SpanloopError
from foundation.files import sync_directory, write_atomically, write_json
from foundation.narration import get_logger
from train.schema import CREDIT_FILE, MANIFEST, Manifest, weights_digest

log = get_logger("train")

ABANDONED_AFTER_S = 3600
"""Age from which a half-written checkpoint is taken for what a killed training left: writing one takes seconds."""

NOT_INHERITED = (
    *("*.safetensors", "*.remainder", "*.bin", "*.index.json", "config.json", "adapter_config.json"),
    *("README.md", "card.md", MANIFEST, CREDIT_FILE, "metrics.jsonl", ".*"),
)
"""What a checkpoint does not take over from its parent. Tokenizer and template are copied byte for byte: their digests
are how the next run knows that recorded ids are still this model's."""


def write_checkpoint(
    save: Callable[[Path], None],
    parent: Path,
    out: Path,
    *,
    metrics: bytes,
    now: datetime,
    describe: Callable[[Path, str, str], Manifest],
) -> Path:
    """Save a policy as OUT/<checkpoint id> and return that path.

    `save` writes the weights into a directory; `describe` makes the manifest from that directory, checkpoint id and
    weights digest. Until the rename nothing is to be seen under the final name, and everything in the directory is on
    disk before it.
    """
    ready(out)
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=out))
    try:
        save(partial)
        for path in parent.iterdir():
            inherited = path.is_file() and not any(path.match(pattern) for pattern in NOT_INHERITED)
            if inherited:
                shutil.copyfile(path, partial / path.name)
        write_atomically(partial / "metrics.jsonl", metrics)
        digest = weights_digest(partial)
        checkpoint_id = f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{digest[:8]}"
        sync_files(partial)
        write_json(partial / MANIFEST, describe(partial, checkpoint_id, digest).model_dump(mode="json"))
        partial.chmod(0o755)  # mkdtemp keeps its directories private; a checkpoint is for the serving user too
        checkpoint = partial.rename(out / checkpoint_id)
        sync_directory(out)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise SpanloopError(
            f"the checkpoint cannot be written to {out}: {error}",
            hint="Nothing was published. Make room, or name another place with --out; the run goes on from its last "
            "kept state.",
        ) from error
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return checkpoint


def ready(out: Path) -> None:
    """Make the directory that checkpoints appear in, or say why there can be none."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"checkpoints cannot be written to {out}: {error.strerror}", hint="--out takes a directory."
        ) from error
    if not os.access(out, os.W_OK):
        raise SettingsError(f"checkpoints cannot be written to {out}: no permission", hint="Choose another --out.")


def sweep_partial(out: Path, *, now_s: float) -> None:
    """Remove what trainings that were killed while writing left behind."""
    for path in out.glob(".partial-*"):
        if now_s - max((each.stat().st_mtime for each in (path, *path.iterdir())), default=now_s) > ABANDONED_AFTER_S:
            shutil.rmtree(path, ignore_errors=True)
            log.info("removed what a killed training left", path=str(path))


def sync_files(directory: Path) -> None:
    """Make the content of every file of a directory durable."""
    for path in directory.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())


def update_gate(checkpoint: Path, manifest: Manifest, gate: dict[str, Any]) -> None:
    """Write a verdict into the manifest of a checkpoint, whole or not at all."""
    write_json(checkpoint / MANIFEST, manifest.model_copy(update={"gate": gate}).model_dump(mode="json"))
