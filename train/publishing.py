"""What a run publishes: the weights as one piece, and the manifest that says what they were made of."""

import hashlib
import importlib.metadata
import tempfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from transformers import PreTrainedModel

from etl.schema import read_watermark, table_files
from train.engine.adapters import describe_base, has_adapter, merge
from train.engine.learner import Learner
from train.halves import halve
from train.loop import Trained
from train.plan import Plan
from train.schema import Manifest, Probe, base_of, model_version, tokenizer_digests
from train.settings import TrainConfig


def describe_window(data: Path) -> dict[str, Any]:
    """Return the files of the transitions table with their digests, and the first and last received_seq they cover."""
    files = table_files(data, "transitions")
    windows = (read_watermark(data) or {"windows": []})["windows"]
    return {
        "files": {path.relative_to(data).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files},
        "received_seq": [
            min((window["since_seq"] for window in windows), default=None),
            max((window["until_seq"] for window in windows), default=None),
        ],
    }


def gather_weights(learner: Learner, policy: PreTrainedModel) -> dict[str, Tensor] | None:
    """Return the whole weights of a sharded model, on the main process; None where every process has them anyway."""
    if not any(hasattr(weight, "to_local") for weight in learner.weights):
        return None
    gathered = get_model_state_dict(
        learner.tokens, options=StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True)
    )
    tied = getattr(policy, "all_tied_weights_keys", {})
    names = {name: name.removeprefix("policy.") for name in gathered}
    return {
        names[name]: weight
        for name, weight in gathered.items()
        if isinstance(weight, Tensor) and name.startswith("policy.") and names[name] not in tied
    }


def saver(
    policy: PreTrainedModel, weights: dict[str, Tensor] | None, *, merged: bool, halved: bool = False
) -> Callable[[Path], None]:
    """Return what writes a policy into a directory: as a whole model, in halves if asked, or its adapter alone."""

    def save(directory: Path) -> None:
        policy.save_pretrained(directory, state_dict=weights)
        if halved and not has_adapter(policy):
            halve(directory)

    def save_merged(directory: Path) -> None:
        # Over the base as it is on disk: in training it may have been in half precision, or in pieces.
        with tempfile.TemporaryDirectory(dir=directory) as adapter:
            save(Path(adapter))
            merge(Path(adapter)).save_pretrained(directory)
        if halved:
            halve(directory)

    return save_merged if merged else save


def _kept_out(trained: Trained) -> dict[str, float | None]:
    """Return the loss at tasks kept out of training, before the first pass and of what is published."""
    if not trained.heldout_losses:
        return {}
    return {"heldout_loss_before": trained.heldout_losses[0], "heldout_loss": min(trained.heldout_losses)}


def make_manifest(
    checkpoint_id: str,
    digest: str,
    config: TrainConfig,
    plan: Plan,
    trained: Trained,
    probes: list[Probe],
    window: dict[str, Any],
    now: datetime,
    *,
    is_adapter: bool,
) -> Manifest:
    """Return what a checkpoint says of itself."""
    tokenizer, template = tokenizer_digests(config.model)
    return Manifest(
        checkpoint_id=checkpoint_id,
        kind="adapter" if is_adapter else "full",
        base=describe_base(base_of(config.model) or config.model) if is_adapter else None,
        agents=config.agents,
        parent=model_version(config.model),
        weights_digest=digest,
        tokenizer_digest=tokenizer or "",
        chat_template_digest=template,
        created_time=now.isoformat(),
        code_version=importlib.metadata.version("spanloop"),
        window=window | {"counts": plan.facts},
        settings=config.model_dump(mode="json"),
        metrics={**trained.last, **_kept_out(trained)},
        probes=probes,
    )
