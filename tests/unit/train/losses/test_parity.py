"""Our losses beside TRL's, on the same float32 tensors: value and gradient of the whole batch."""

from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from trl import import_utils

from train.losses.divergence import divergence
from train.losses.registry import LOSSES, Bounds
from train.losses.sampled import Sampled

# TRL would import vLLM wherever it is installed, and warns of versions it has not seen; it is not needed here.
import_utils.is_vllm_available = lambda *_arguments, **_named: False

from trl.trainer.grpo_trainer import GRPOTrainer  # noqa: E402 - see above

LENGTHS = [3, 7, 1, 5]
WIDTH = max(LENGTHS)
MASK = torch.arange(WIDTH) < torch.tensor(LENGTHS)[:, None]
MEAN_LENGTH = sum(LENGTHS) / len(LENGTHS)
LIMIT = 16
"""Length of a completion that Dr. GRPO divides by."""


def tensors() -> dict[str, torch.Tensor]:
    """Return (call, position) log-probabilities under policy, behavior policy and reference, and advantages."""
    randomness = torch.Generator().manual_seed(0)

    def normal(*shape: int, scale: float = 1.0) -> torch.Tensor:
        return scale * torch.randn(shape, generator=randomness)

    policy = -normal(len(LENGTHS), WIDTH).abs()
    return {
        "policy": policy,
        "behavior": policy + normal(len(LENGTHS), WIDTH, scale=0.3),
        "reference": policy + normal(len(LENGTHS), WIDTH, scale=0.3),
        "advantages": normal(len(LENGTHS)),
    }


def theirs(loss_type: str, *, level: str = "token", epsilon: tuple[float, float], beta: float = 0.0) -> Any:
    """Return loss and gradient of TRL's own method, with everything around it but the tensors taken away."""
    given = tensors()
    policy = given["policy"].clone().requires_grad_()
    trainer = object.__new__(GRPOTrainer)
    attributes = {
        "_get_per_token_logps_and_entropies": lambda *_arguments, **_named: (policy, torch.zeros_like(policy), None),
        "accelerator": SimpleNamespace(
            num_processes=1, gather=lambda value: value, reduce=lambda value, **_named: value
        ),
        "args": SimpleNamespace(delta=None, use_bias_correction_kl=False, steps_per_generation=1),
        "model": SimpleNamespace(training=True),
        "loss_type": loss_type,
        "importance_sampling_level": level,
        "epsilon_low": epsilon[0],
        "epsilon_high": epsilon[1],
        "beta": beta,
        "top_entropy_quantile": 1.0,
        "off_policy_mask_threshold": None,
        "use_vllm": False,
        "vllm_importance_sampling_correction": False,
        "current_gradient_accumulation_steps": 1,
        "max_completion_length": LIMIT,
        "aux_loss_enabled": False,
        "_entropy_bonus_enabled": False,
        "_metrics": {"train": defaultdict(list)},
    }
    trainer.__dict__.update(attributes)
    loss = trainer._compute_loss(
        SimpleNamespace(training=True),
        {
            "prompt_ids": torch.zeros(len(LENGTHS), 1, dtype=torch.long),
            "prompt_mask": torch.ones(len(LENGTHS), 1, dtype=torch.long),
            "completion_ids": torch.zeros(len(LENGTHS), WIDTH, dtype=torch.long),
            "completion_mask": MASK.long(),
            "advantages": given["advantages"],
            "old_per_token_logps": given["behavior"],
            "ref_per_token_logps": given["reference"],
            "num_items_in_batch": MASK.sum(),
        },
    )
    loss.backward()
    return loss.detach(), policy.grad


def ours(name: str, *, epsilon: tuple[float, float], denominator: float, beta: float = 0.0) -> Any:
    """Return loss and gradient of our loss over flat tokens, weighed as the objective weighs them."""
    given = tensors()
    policy = given["policy"].clone().requires_grad_()
    lengths = torch.tensor(LENGTHS)
    sampled = Sampled(
        policy[MASK],
        given["behavior"][MASK],
        torch.repeat_interleave(given["advantages"], lengths),
        torch.repeat_interleave(torch.arange(len(LENGTHS)), lengths),
        given["reference"][MASK],
    )
    tokens = LOSSES[name].loss(sampled, Bounds(*epsilon)).loss
    if beta:
        tokens = tokens + beta * divergence(-sampled.reference_log_ratio(), "k3")
    if LOSSES[name].per_call:
        tokens = tokens * MEAN_LENGTH / torch.repeat_interleave(lengths, lengths)
    loss = tokens.sum() / denominator
    loss.backward()
    return loss.detach(), policy.grad


NUM_TOKENS = sum(LENGTHS)


@pytest.mark.parametrize(
    ("name", "their_settings", "our_settings"),
    [
        ("grpo", {"loss_type": "grpo", "epsilon": (0.2, 0.2)}, {"denominator": NUM_TOKENS}),
        ("grpo", {"loss_type": "grpo", "epsilon": (0.2, 0.2), "beta": 0.1}, {"denominator": NUM_TOKENS, "beta": 0.1}),
        ("dr_grpo", {"loss_type": "dr_grpo", "epsilon": (0.2, 0.2)}, {"denominator": len(LENGTHS) * LIMIT}),
        ("dapo", {"loss_type": "dapo", "epsilon": (0.2, 0.28)}, {"denominator": NUM_TOKENS}),
        ("gspo", {"loss_type": "grpo", "level": "sequence", "epsilon": (0.03, 0.04)}, {"denominator": NUM_TOKENS}),
    ],
)
def test_loss_and_gradient_are_those_of_trl(
    name: str, their_settings: dict[str, Any], our_settings: dict[str, Any]
) -> None:
    """Within 1e-5; with TRL's aggregation, which a weight of each call and one denominator express."""
    loss, gradient = theirs(**their_settings)

    own_loss, own_gradient = ours(name, epsilon=their_settings["epsilon"], **our_settings)

    assert own_loss.item() == pytest.approx(loss.item(), abs=1e-5)
    assert torch.allclose(own_gradient, gradient, atol=1e-5)
    assert gradient.abs().max() > 1e-3


def test_cispo_is_trl_s_with_a_cap_of_one_more() -> None:
    """TRL bounds the ratio by `epsilon_high`, we by 1 + `clip_high`."""
    loss, gradient = theirs("cispo", epsilon=(0.2, 1.5))

    own_loss, own_gradient = ours("cispo", epsilon=(1.0, 0.5), denominator=NUM_TOKENS)

    assert own_loss.item() == pytest.approx(loss.item(), abs=1e-5)
    assert torch.allclose(own_gradient, gradient, atol=1e-5)
