"""What is checked of a checkpoint before it changes anything: whole, unaltered, safe to open, and fit for its place.

A failed reload can end an engine, so nothing is loaded that was not looked at.
"""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from foundation.errors import GateRefused
from foundation.models import is_in_snapshot_of
from serve.engines.adapters import check_base, is_adapter
from train.schema import MANIFEST, Manifest, read_manifest, tokenizer_digests, weights_digest

UNSAFE_SUFFIXES = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".py", ".so"}
"""Files that run code when opened, or are code."""

INCIDENTAL = {"_name_or_path", "transformers_version", "dtype", "torch_dtype", "use_cache"}
"""Keys of config.json that do not change what the model computes."""


class CheckpointRefused(GateRefused):
    """A checkpoint that must not be served, or not in place of the model that is."""


def check_integrity(checkpoint: Path, *, require_manifest: bool = True) -> Manifest | None:
    """Check that a model directory is whole, unaltered and safe to open; return its manifest.

    A model that never was a checkpoint of ours has none, and passes only where that is allowed.
    """
    if not (checkpoint / "config.json").is_file() and not is_adapter(checkpoint):
        raise CheckpointRefused(
            f"{checkpoint} is not a model directory: "
            + ("it has no config.json" if checkpoint.is_dir() else "it is none"),
            hint="Name the directory of a model: `hf download ID` prints it, `spanloop train run` makes one.",
        )
    root = checkpoint.resolve()
    for path in sorted(checkpoint.rglob("*")):
        if not path.resolve().is_relative_to(root) and not is_in_snapshot_of(path, root):
            raise CheckpointRefused(f"{path} is a link that leads out of the checkpoint")
        if path.suffix in UNSAFE_SUFFIXES:
            raise CheckpointRefused(
                f"{path} could run code when opened",
                hint="Only safetensors are served. Remove it: where safetensors are there too, nothing reads it.",
            )
    if not is_adapter(checkpoint) and "auto_map" in read_config(checkpoint):
        raise CheckpointRefused(f"{checkpoint / 'config.json'} asks for code of the model's own (auto_map)")
    read_tensors(checkpoint)
    if not require_manifest and not (checkpoint / MANIFEST).exists():
        return None
    manifest = read_manifest(checkpoint)
    digest = weights_digest(checkpoint)
    if digest != manifest.weights_digest:
        raise CheckpointRefused(
            f"the weights in {checkpoint} are not those of its manifest: sha256 {digest[:12]}…, "
            f"manifest says {manifest.weights_digest[:12]}…"
        )
    if is_adapter(checkpoint):
        check_base(checkpoint, manifest)
    return manifest


def check_compatible(checkpoint: Path, serving: Path) -> None:
    """Check that a checkpoint can take the place of the model an engine runs: same shape, tokenizer and template."""
    hint = "Stop the gateway, promote, and start it again: an engine changes weights in place, nothing else."
    ours, theirs = read_config(checkpoint), read_config(serving)
    different = [key for key in sorted(ours.keys() | theirs.keys()) if ours.get(key) != theirs.get(key)]
    if different:
        raise CheckpointRefused(
            f"{checkpoint / 'config.json'} differs from the model that is served in {', '.join(different)}", hint=hint
        )
    if read_tensors(checkpoint) != read_tensors(serving):
        raise CheckpointRefused(f"{checkpoint} has other tensors than the model that is served", hint=hint)
    if tokenizer_digests(checkpoint) != tokenizer_digests(serving):
        raise CheckpointRefused(f"{checkpoint} has another tokenizer or chat template than the model served", hint=hint)


def check_gate(checkpoint: Path, manifest: Manifest, *, is_canary: bool = False) -> None:
    """Check that the evaluation accepted a checkpoint; one that was never evaluated passes.

    For a canary it is enough that nothing speaks against it: a share of the calls is how to find out.
    """
    gate = manifest.gate
    if gate is None:
        return
    if gate.get("weights_digest") != manifest.weights_digest:
        raise CheckpointRefused(f"the gate report in {checkpoint} is about other weights")
    is_open = gate.get("verdict") == "inconclusive"
    if gate.get("passed") is not True and not (is_canary and is_open):
        raise CheckpointRefused(
            f"the evaluation did not accept {checkpoint.name}: {gate.get('reason') or 'no reason given'}",
            hint="Try it on a share of the calls with `spanloop serve canary`, or serve it all the same with --force."
            if is_open
            else "Serve it all the same with --force.",
        )


def read_tensors(model: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor in a directory's safetensors files, from their headers.

    Nothing of torch is needed for it, which takes a gateway, and each command that changes what is live, seconds to
    import on an idle machine and minutes on a busy one.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for path in sorted(model.glob("*.safetensors")):
        try:
            with safe_open(path, framework="np") as tensors:
                shapes |= {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise CheckpointRefused(f"{path} is not a whole safetensors file: {error}") from error
    if not shapes:
        raise CheckpointRefused(f"{model} has no safetensors files")
    return shapes


def read_config(model: Path) -> dict[str, Any]:
    """Return what config.json says of what a model computes."""
    path = model / "config.json"
    try:
        config: dict[str, Any] = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise CheckpointRefused(f"{path} cannot be read: {error}") from error
    return {key: value for key, value in config.items() if key not in INCIDENTAL}
