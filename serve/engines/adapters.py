"""LoRA adapters: weights that need a base, and the base they need.

An adapter directory is what PEFT writes, with our manifest beside it; the manifest names the base by path and by the
digest of its weights. An adapter over other weights is another policy.
"""

import json
from pathlib import Path
from typing import Any

from foundation.errors import GateRefused
from train.schema import Manifest, weights_digest

ADAPTER_CONFIG = "adapter_config.json"


class BaseMissing(GateRefused):
    """The base an adapter needs is not there, or has other weights."""


def is_adapter(checkpoint: Path) -> bool:
    """Tell whether a directory holds an adapter."""
    return (checkpoint / ADAPTER_CONFIG).is_file()


def read_adapter_config(checkpoint: Path) -> dict[str, Any]:
    """Return PEFT's description of an adapter."""
    path = checkpoint / ADAPTER_CONFIG
    try:
        config: dict[str, Any] = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise BaseMissing(f"{path} cannot be read: {error}") from error
    return config


def adapter_rank(checkpoint: Path) -> int:
    """Return the rank of an adapter, 0 for a whole model."""
    return int(read_adapter_config(checkpoint).get("r", 0)) if is_adapter(checkpoint) else 0


def adapter_base(checkpoint: Path) -> Path | None:
    """Return the directory of the base an adapter needs, None for a whole model.

    A base that is no longer where it was when the adapter was trained is looked for beside the adapter.
    """
    if not is_adapter(checkpoint):
        return None
    named = Path(str(read_adapter_config(checkpoint).get("base_model_name_or_path")))
    for candidate in (named, checkpoint.resolve().parent / named.name):
        if (candidate / "config.json").is_file():
            return candidate.resolve()
    raise BaseMissing(
        f"the base of the adapter {checkpoint.name} is not at {named}",
        hint="Put it back, or beside the adapter under the same name.",
    )


def whole_model(checkpoint: Path) -> Path:
    """Return where the tokenizer, template and configuration of a checkpoint are: with an adapter, at its base."""
    return adapter_base(checkpoint) or checkpoint


def check_base(checkpoint: Path, manifest: Manifest) -> None:
    """Check that the base an adapter would be served over is the one it was trained over."""
    base = adapter_base(checkpoint)
    assert base is not None, "asked of an adapter only"
    if manifest.base is None:
        raise BaseMissing(f"the manifest of the adapter {checkpoint.name} does not name its base")
    digest = weights_digest(base)
    if digest != manifest.base.weights_digest:
        raise BaseMissing(
            f"{base} is not the base of {checkpoint.name}: its weights are {digest[:12]}…, "
            f"it was trained over {manifest.base.version}, {manifest.base.weights_digest[:12]}…"
        )
