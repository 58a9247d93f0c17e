"""How much arithmetic an update needs: the numerator of model FLOPs utilisation (MFU, arXiv:2204.02311 appendix B)."""

from collections.abc import Sequence as Many

import torch
from transformers import PreTrainedModel

PEAK_FLOPS = {
    "A100": 312e12,
    "H100": 989e12,
    "H200": 989e12,
    "B200": 2250e12,
    "L40S": 362e12,
    "RTX 4090": 165e12,
}
"""Dense bfloat16 operations a second that makers' data sheets give, by a part of the device's name."""


def update_flops(policy: PreTrainedModel, lengths: Many[int], num_trained: int) -> float:
    """Return the operations of one forward and backward pass over sequences of these lengths.

    Each weight of a linear layer costs 2 a token forward, 2 for the gradient of its input and, where it is trained, 2
    for its own; causal attention costs 2 L^2 x heads x head dimension forward and twice that backward. Only trained
    tokens pass through the head. Recomputation is not counted: it is a price, not work.
    """
    head = policy.get_output_embeddings()
    linear = [(name, module) for name, module in policy.named_modules() if _is_linear(module) and module is not head]
    body = sum((6 if module.weight.requires_grad else 4) * module.weight.numel() for _, module in linear)
    config = policy.config.get_text_config()
    heads = config.num_attention_heads
    width = heads * (getattr(config, "head_dim", None) or config.hidden_size // heads)
    attention = 6 * config.num_hidden_layers * width * sum(length**2 for length in lengths)
    top = (6 if head.weight.requires_grad else 4) * head.weight.numel()
    return float(body * sum(lengths) + attention + top * num_trained)


def peak_flops(device: torch.device) -> float | None:
    """Return what a device can do in bfloat16, operations a second; None for one we do not know."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((peak for part, peak in PEAK_FLOPS.items() if part in name), None)


def _is_linear(module: torch.nn.Module) -> bool:
    return isinstance(module, torch.nn.Linear)
