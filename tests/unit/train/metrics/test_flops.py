"""The arithmetic of an update."""

from pathlib import Path

import torch

from train.engine.policy import load_policy
from train.metrics.flops import update_flops


def test_the_arithmetic_of_an_update_is_what_torch_counts(model: Path) -> None:
    """But for attention, which eager attention computes whole and of which only the causal half is needed."""
    from torch.utils.flop_counter import FlopCounterMode

    policy = load_policy(model)
    policy.set_attn_implementation("eager")
    with FlopCounterMode(display=False) as counter:
        policy(input_ids=torch.arange(64)[None]).logits.sum().backward()
    config = policy.config
    half = 6 * config.num_hidden_layers * config.num_attention_heads * config.head_dim * 64**2

    assert update_flops(policy, [64], 64) + half == counter.get_total_flops()
