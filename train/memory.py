"""How much memory a run will need, from the shapes of its model: so that what does not fit is refused before it starts.

What a causal transformer of the usual shape keeps of every token for its backward pass, in numbers a layer: three
widths at each of its two norms, queries, keys, values and attention's answer, and four times the width of the
feed-forward part. Gradients appear as these go. Measured against runs by `benchmarks/train/memory.py`.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from foundation.errors import SettingsError
from foundation.narration import get_logger
from train.engine.adapters import attach
from train.engine.logprob import LOGITS_PER_CHUNK
from train.plan import Plan
from train.schema import base_of
from train.settings import TOKENS_PER_BATCH, TrainConfig

log = get_logger("train")

FEWEST_TOKENS = 64
"""Of a forward pass: with less nobody trains."""

OTHER_BYTES = 350 << 20
"""The interpreter, its libraries and the logged calls."""

SLACK = 1.15
"""What the allocator holds beside what is asked of it."""

LAYERS_ANEW = 4
"""Layers whose activations are there at once where they are computed anew: one, and what is still held of others."""

CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Footprint:
    """Bytes a run takes on its device."""

    weights: int
    optimizer: int
    trained: int
    """Of the trained weights once more: their gradients take as much, and so does each copy to go back to."""

    num_copies: int
    """Of the trained weights on the device to go back to: on a CPU that of the last check, and of the last pass where
    tasks are kept out; 0 on a GPU, whose copies are on the host."""

    logits: int
    per_token: int
    """For every token of a forward pass, until its backward pass is through."""

    def total(self, num_tokens: int) -> int:
        """Return the most a run takes at once, with so many tokens in a forward pass."""
        reading = self.per_token * num_tokens + self.logits
        return int(SLACK * (self._always + max(reading, self._stepping)))

    def tokens_within(self, num_bytes: float) -> int:
        """Return how many tokens a forward pass may have within a limit, a power of two; 0 for none.

        >>> Footprint(0, 0, 0, 0, 0, per_token=1 << 20).tokens_within(4 << 30)
        2048
        """
        if self.total(0) > num_bytes:
            return 0
        most = int((num_bytes / SLACK - self._always - self.logits) // self.per_token)
        return 1 << (most.bit_length() - 1) if most >= FEWEST_TOKENS else 0

    @property
    def _always(self) -> int:
        return OTHER_BYTES + self.weights + self.optimizer + self.num_copies * self.trained

    @property
    def _stepping(self) -> int:
        """While weights are moved: gradients, and the place they were moved to when it is gone back from."""
        return (1 + min(1, self.num_copies)) * self.trained


def fit_memory(config: TrainConfig, plan: Plan, accelerator: Accelerator) -> int:
    """Return how many tokens a forward pass is to have: as asked, else as many as there is memory for.

    Raises `SettingsError` where the run does not fit into `max_memory`, or into what the device has free. Of weights
    that processes share out among them (FSDP) nothing is known here, and nothing refused.
    """
    device, is_half = accelerator.device, accelerator.mixed_precision == "bf16"
    if accelerator.distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED):
        return config.tokens_per_batch or TOKENS_PER_BATCH
    limit = config.max_memory * 2**30 if config.max_memory else free_bytes(device) / _sharing(accelerator)
    needed = footprint(config, device_type=device.type, is_half=is_half)
    lengths = [len(sequence.ids) for sequence in plan.sequences]
    longest = max(lengths)
    wanted = config.tokens_per_batch or TOKENS_PER_BATCH
    at_once = max(longest, min(wanted, sum(lengths)))
    if needed.total(at_once) <= limit:
        return wanted
    fitting = needed.tokens_within(limit)
    if config.tokens_per_batch is None and fitting and needed.total(longest) <= limit:
        log.info("forward passes are small, to fit into memory", tokens_per_batch=fitting, free_gib=_gib(limit))
        return fitting
    least = needed.total(longest)
    if least <= limit:
        hint = f"--tokens-per-batch {fitting or longest} fits, and changes nothing else."
    else:
        ways = [] if config.gradient_checkpointing else ["--gradient-checkpointing keeps less of each token"]
        ways += [] if config.adapter == "lora" else ["--adapter lora trains a small part of the weights"]
        ways += ["--max-memory says that more may be used than is free now, in GiB"]
        hint = "; ".join(ways) + "."
    raise SettingsError(
        f"training {config.model} takes about {_gib(needed.total(at_once))} GiB with {at_once} tokens in a forward "
        f"pass, and at least {_gib(least)} for its longest conversation of {longest}; {_gib(limit)} may be used",
        hint=hint,
    )


def _sharing(accelerator: Accelerator) -> int:
    """Return how many processes have what is free in common."""
    return accelerator.num_processes if accelerator.device.type == "cpu" else 1


def _gib(num_bytes: float) -> float:
    return round(num_bytes / 2**30, 1)


def footprint(config: TrainConfig, *, device_type: str, is_half: bool) -> Footprint:
    """Return what a run of these settings will take; `is_half` where it computes in bfloat16. Reads no weights."""
    base = base_of(config.model)
    with torch.device("meta"):
        policy: PreTrainedModel = AutoModelForCausalLM.from_config(
            AutoConfig.from_pretrained(base or config.model, local_files_only=True)
        )
        if config.adapter == "lora" and base is None:
            attach(policy, config)
    every = sum(weight.numel() for weight in policy.parameters())
    trained = sum(weight.numel() for weight in policy.parameters() if weight.requires_grad)
    if base is not None:
        trained = _adapter_size(config.model)
        every += trained
    is_adapted = trained < every
    head = policy.get_output_embeddings().weight.numel()
    return Footprint(
        weights=4 * trained + (2 if is_half and is_adapted else 4) * (every - trained),
        optimizer=8 * trained,
        trained=4 * trained,
        num_copies=1 + (config.heldout_share > 0) if device_type == "cpu" else 0,
        # Logits of a chunk, their gradient and what comes between; the head's gradient beside the one it is added to.
        logits=4 * 4 * LOGITS_PER_CHUNK + (0 if is_adapted else 8 * head),
        per_token=_per_token(policy, 2 if is_half else 4, is_checkpointed=config.gradient_checkpointing),
    )


def _adapter_size(adapter: Path) -> int:
    with safe_open(adapter / "adapter_model.safetensors", framework="pt") as file:
        return sum(int(math.prod(file.get_slice(name).get_shape())) for name in file.keys())  # noqa: SIM118 - no mapping


def _per_token(policy: PreTrainedModel, size: int, *, is_checkpointed: bool) -> int:
    config = policy.config.get_text_config()
    width, num_layers, heads = int(config.hidden_size), int(config.num_hidden_layers), int(config.num_attention_heads)
    dim = int(getattr(config, "head_dim", None) or width // heads)
    attended = (heads + int(getattr(config, "num_key_value_heads", None) or heads)) * dim
    inner = int(getattr(config, "intermediate_size", None) or 4 * width)
    normed = attended if any(name.endswith("q_norm") for name, _ in policy.named_modules()) else 0
    layer = (6 * width + 2 * normed) * 4 + (2 * attended + 4 * inner) * size  # norms are in float32
    return 4 * width * num_layers + LAYERS_ANEW * layer if is_checkpointed else layer * num_layers


def free_bytes(device: torch.device) -> int:
    """Return what a device, or this machine within the limits of its control group, has free."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    import psutil

    free = int(psutil.virtual_memory().available)
    try:
        limit = int((CGROUP / "memory.max").read_text())
        used = int((CGROUP / "memory.current").read_text())
    except (OSError, ValueError):  # no control group, or `max`
        return free
    return min(free, limit - used)
