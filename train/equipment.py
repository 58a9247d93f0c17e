"""What a run trains with: the processes' group, the accelerator and its trackers, the model, its optimiser."""

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from transformers import PreTrainedModel

from foundation.errors import GateRefused, SettingsError
from train.credit.token_values import CRITIC_STEP, make_value_head
from train.engine.adapters import attach, has_adapter
from train.engine.learner import Learner
from train.engine.policy import SampledTokens, load_policy, save_activations
from train.engine.standout import Standout
from train.halves import restore
from train.loop import default_learning_rate
from train.plan import Plan
from train.schema import base_of
from train.settings import OptimizerName, TrainConfig

LARGEST_RATE = 1e37
"""AdamW divides a rate by 0.1 in its first update, and torch takes no finite number beyond float32's for a step."""


@contextlib.contextmanager
def process_group() -> Iterator[None]:
    """Leave the processes' group when training has ended or was refused; a process that failed is the launcher's."""
    try:
        yield
    except GateRefused:
        _leave_group()
        raise
    _leave_group()


def _leave_group() -> None:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def make_accelerator(config: TrainConfig, out: Path, *, cpu: bool, mixed_precision: str) -> Accelerator:
    """Return the accelerator, its trackers begun; refuse trackers that are not there, which Accelerate passes over."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="`log_with=")  # said below, as an error
            accelerator = Accelerator(
                cpu=cpu,
                mixed_precision=mixed_precision,
                log_with=list(config.log_with) or None,
                project_dir=out / "tracking" if config.log_with else None,
            )
    except ValueError as error:
        raise SettingsError(f"log_with: {error}") from error
    if config.log_with:
        settings = config.model_dump(mode="json")
        scalars = {name: value for name, value in settings.items() if isinstance(value, (int, float, str))}
        accelerator.init_trackers("spanloop", config=scalars)
        missing = set(config.log_with) - {tracker.name for tracker in accelerator.trackers}
        if missing and accelerator.is_main_process:
            raise SettingsError(
                f"log_with names {', '.join(sorted(missing))}, which cannot be imported",
                hint=f"Install what it needs: pip install {' '.join(sorted(missing))}",
            )
    return accelerator


def saves_halves(config: TrainConfig, mixed_precision: str) -> bool:
    """Tell whether a checkpoint is served in bfloat16: by default where that is what it is computed in."""
    return (config.save_dtype or ("bfloat16" if mixed_precision == "bf16" else "float32")) == "bfloat16"


def open_policy(config: TrainConfig, accelerator: Accelerator) -> PreTrainedModel:
    """Open the model, with the adapter it is trained by, on the device."""
    is_adapted = config.adapter == "lora" or base_of(config.model) is not None
    # What is frozen needs no more precision than it is computed in; what is trained is always kept in float32.
    half = is_adapted and accelerator.mixed_precision == "bf16"
    policy = load_policy(config.model, dtype=torch.bfloat16 if half else torch.float32)
    if not is_adapted:
        restore(policy, config.model)
    if is_adapted and not has_adapter(policy):
        attach(policy, config)
    if config.merge and not is_adapted:
        raise SettingsError("merge: there is no adapter to merge", hint="Ask for one with --adapter lora.")
    if config.gradient_checkpointing:
        save_activations(policy)
    policy.to(accelerator.device)
    return policy


def chosen_optimizer(config: TrainConfig, plan: Plan) -> OptimizerName:
    """Return the optimiser of a run: the one that was asked for, else what its settings and its data speak for.

    `standout` needs calls on which a distance can be measured; a learning rate or a size of updates means AdamW.
    """
    is_of_adamw = bool(config.token_critic or config.warmup_updates) or any(
        value is not None for value in (config.learning_rate, config.episodes_per_update, config.tokens_per_update)
    )
    own = sum(each.num_trained for each in plan.own_sequences())
    is_measured = 2 * own >= sum(each.num_trained for each in plan.sequences)
    return config.optimizer or ("standout" if is_measured and not is_of_adamw else "adamw")


def make_learner(accelerator: Accelerator, policy: PreTrainedModel, plan: Plan, config: TrainConfig) -> Learner:
    """Return what a run trains with: the model, its token critic where asked for, and their optimiser, wrapped."""
    width = policy.config.get_text_config().hidden_size
    rate = min(config.learning_rate or default_learning_rate(width, adapter=has_adapter(policy)), LARGEST_RATE)
    head = make_value_head(width).to(policy.device) if config.token_critic else None
    groups: list[dict[str, Any]] = [{"params": [weight for weight in policy.parameters() if weight.requires_grad]}]
    if head is not None:
        groups.append({"params": list(head.parameters()), "lr": CRITIC_STEP / width, "weight_decay": 0.0})
    optimizer: torch.optim.Optimizer = torch.optim.AdamW(
        groups, lr=rate, betas=(0.9, 0.95), weight_decay=config.weight_decay
    )
    if chosen_optimizer(config, plan) == "standout":
        optimizer = Standout(groups)
    tokens, optimizer = accelerator.prepare(SampledTokens(policy, head), optimizer)
    return Learner(accelerator, tokens, optimizer, plan, config)


def release(accelerator: Accelerator) -> None:
    """Finish the trackers and let go of what was prepared, so that it does not outlive the processes' group.

    A reducer of gradients that is the last to hold the group waits for the group's threads with the GIL in hand, and
    they may be waiting for that (pytorch/pytorch#56297).
    """
    for tracker in accelerator.trackers:
        tracker.finish()
    accelerator.free_memory()
