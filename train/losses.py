"""Policy-gradient losses: pure functions from flat token tensors to one loss a token. No model, no normalisation.

Every loss sees the sampled tokens of a batch as flat tensors of equal length. Weights are applied afterwards, by
`weigh`, with denominators that were fixed for the whole update before its first micro-batch: so neither micro-batching
nor packing nor the number of processes can change a gradient.

The ratio r = pi / mu is always to the policy that sampled the token, as recorded, at the temperature it was sampled at.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

MAX_LOG_RATIO = 20.0
"""Log-ratios are clamped here, as verl does: exp(20) is already no estimate of anything."""


@dataclass(frozen=True)
class Sampled:
    """The sampled tokens of a batch."""

    policy_logprobs: Float[Tensor, " token"]
    """Log-probability under the policy in training; carries the gradient."""

    behavior_logprobs: Float[Tensor, " token"]
    """Log-probability under the policy that sampled it, as recorded."""

    advantages: Float[Tensor, " token"]
    """Advantage of the call each token belongs to."""

    def log_ratio(self) -> Float[Tensor, " token"]:
        """Return log(pi / mu)."""
        return (self.policy_logprobs - self.behavior_logprobs).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)


@dataclass(frozen=True)
class Bounds:
    """How far from 1 a ratio counts."""

    clip_low: float
    clip_high: float
    dual_clip: float = 3.0


@dataclass(frozen=True)
class TokenLoss:
    """The loss of each token, and whether a clip took its gradient away."""

    loss: Float[Tensor, " token"]
    is_clipped: Bool[Tensor, " token"]


Loss = Callable[[Sampled, Bounds], TokenLoss]

LOSSES: dict[str, Loss] = {}
"""Every loss by its name in the settings."""

BOUNDS: dict[str, Bounds] = {}
"""The bounds each loss was published with, or is usually run with."""


def register(name: str, *, clip_low: float, clip_high: float) -> Callable[[Loss], Loss]:
    """Enter a loss into `LOSSES`, and the bounds that suit it into `BOUNDS`."""

    def enter(loss: Loss) -> Loss:
        LOSSES[name] = loss
        BOUNDS[name] = Bounds(clip_low, clip_high)
        return loss

    return enter


@register("reinforce", clip_low=1.0, clip_high=math.inf)
def reinforce(sampled: Sampled, _bounds: Bounds) -> TokenLoss:
    """Return -A log pi: the plain policy gradient, right only while the policy is still the one that sampled."""
    return TokenLoss(
        -sampled.advantages * sampled.policy_logprobs, torch.zeros_like(sampled.advantages, dtype=torch.bool)
    )


@register("grpo", clip_low=0.2, clip_high=0.28)
def grpo(sampled: Sampled, bounds: Bounds) -> TokenLoss:
    """Return -min(r A, clip(r, 1 - low, 1 + high) A): PPO's clipped surrogate (arXiv:1707.06347 eq. 7), as in GRPO."""
    ratio = sampled.log_ratio().exp()
    advantages = sampled.advantages
    free = ratio * advantages
    clipped = ratio.clamp(1 - bounds.clip_low, 1 + bounds.clip_high) * advantages
    return TokenLoss(-torch.minimum(free, clipped), clipped < free)


@register("ppo", clip_low=0.2, clip_high=0.28)
def ppo(sampled: Sampled, bounds: Bounds) -> TokenLoss:
    """Return the clipped surrogate with a second bound for bad actions, -dual_clip * A (arXiv:1912.09729 eq. 5).

    Without it a bad action whose ratio has grown large has an unbounded gradient.
    """
    single = grpo(sampled, bounds)
    advantages = sampled.advantages
    bound = -bounds.dual_clip * advantages
    is_bounded = (advantages < 0) & (single.loss > bound)
    return TokenLoss(torch.where(is_bounded, bound, single.loss), single.is_clipped | is_bounded)


@register("cispo", clip_low=1.0, clip_high=1.0)
def cispo(sampled: Sampled, bounds: Bounds) -> TokenLoss:
    """Return -sg(clip(r, 1 - low, 1 + high)) A log pi: every token keeps its gradient, only its weight is bounded.

    CISPO, arXiv:2506.13585 eq. 4. `clip_low` = 1 leaves the lower side free, as the paper does; no weight above 2 keeps
    single lucky tokens from carrying an update.
    """
    ratio = sampled.log_ratio().exp().detach()
    weight = ratio.clamp(1 - bounds.clip_low, 1 + bounds.clip_high)
    return TokenLoss(-weight * sampled.advantages * sampled.policy_logprobs, weight != ratio)


def behavior_kl(sampled: Sampled) -> Float[Tensor, " token"]:
    """Return the divergence of the policy from the one that acted, in nats a token: the smaller of k2 and k3.

    With x = log r, k2 is x^2 / 2 and k3 is e^x - 1 - x (http://joschu.net/blog/kl-approx.html); to second order they
    are the same. Each explodes on one side, and training goes to both: k3 where a token of probability 1e-5 led to a
    reward and became likely, k2 where a bad token all but vanished. Their minimum is smooth and never negative.
    """
    log_ratio = sampled.log_ratio()
    return torch.where(log_ratio > 0, 0.5 * log_ratio**2, log_ratio.exp() - 1 - log_ratio)


def weigh(tokens: Float[Tensor, " token"], *, denominator: float) -> Float[Tensor, ""]:
    """Sum over tokens, divided by a constant the whole update shares."""
    return tokens.sum() / denominator
