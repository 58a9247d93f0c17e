"""Losses: pure functions from flat token tensors to one loss a token. No model, no normalisation.

Every loss sees the sampled tokens of a batch as flat tensors of equal length. Weights are applied afterwards, by
`weigh`, with denominators that were fixed for the whole update before its first micro-batch: so neither micro-batching
nor packing nor the number of processes can change a gradient. What is defined on a whole call (GSPO, RLOO, TOPR, DPO,
KTO) reduces over the tokens of the call, which are always in one micro-batch.

The ratio r = pi / mu is to the policy that sampled the token, as recorded, at the temperature it was sampled at. The
reference is the model as it was when the run began.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from etl.schema import Evidence
from train.losses.sampled import MAX_LOG_RATIO, Sampled


@dataclass(frozen=True)
class Bounds:
    """How far from 1 a ratio counts, and how strong a pull is."""

    clip_low: float = 0.2
    clip_high: float = 0.2
    dual_clip: float = 3.0
    beta: float = 1.0
    """Temperature of AWR's weights; strength of the pull to the reference in DRO, DPO and KTO."""

    max_weight: float = 20.0
    """Largest weight of a call in AWR."""


@dataclass(frozen=True)
class TokenLoss:
    """The loss of each token, and whether a clip took its gradient away."""

    loss: Float[Tensor, " token"]
    is_clipped: Bool[Tensor, " token"]


Loss = Callable[[Sampled, Bounds], TokenLoss]

Stream = Literal["reference", "pairs", "mean"]
"""What a loss needs beside policy, behavior policy and advantage: the reference; calls in pairs; the update's mean."""

RATIO = frozenset({Evidence.EXACT, Evidence.RESCORED})
IDS = RATIO | {Evidence.IDS}
OWN = IDS | {Evidence.TEXT}
ANY = frozenset(Evidence)


@dataclass(frozen=True)
class Spec:
    """A loss and what it asks for."""

    loss: Loss
    bounds: Bounds
    """What it was published with, or is usually run with."""

    admits: frozenset[Evidence]
    """How well the sampling of a call must be known."""

    only_positive: bool = False
    """It learns from calls with a positive advantage alone."""

    is_proportional: bool = True
    """The gradient of a call is proportional to its advantage."""

    per_call: bool = False
    """Every call weighs the same, however many tokens it has; else every token does."""

    needs: frozenset[Stream] = frozenset()

    by_ratio: bool = True
    """It weighs a token by how likely it was to the policy that sampled it."""


LOSSES: dict[str, Spec] = {}
"""Every loss by its name in the settings."""


def register(
    name: str,
    bounds: Bounds,
    *,
    admits: frozenset[Evidence],
    only_positive: bool = False,
    is_proportional: bool = True,
    per_call: bool = False,
    needs: frozenset[Stream] = frozenset(),
    by_ratio: bool = True,
) -> Callable[[Loss], Loss]:
    """Enter a loss into `LOSSES`."""

    def enter(loss: Loss) -> Loss:
        LOSSES[name] = Spec(loss, bounds, admits, only_positive, is_proportional, per_call, needs, by_ratio)
        return loss

    return enter


def _unclipped(loss: Float[Tensor, " token"]) -> TokenLoss:
    return TokenLoss(loss, torch.zeros_like(loss, dtype=torch.bool))


@register("reinforce", Bounds(1.0, math.inf), admits=IDS, by_ratio=False)
def reinforce(sampled: Sampled, _bounds: Bounds) -> TokenLoss:
    """Return -A log pi: the plain policy gradient, right only while the policy is still the one that sampled."""
    return _unclipped(-sampled.advantages * sampled.policy_logprobs)


@register("dapo", Bounds(0.2, 0.28), admits=RATIO)
@register("dr_grpo", Bounds(0.2, 0.2), admits=RATIO)
@register("grpo", Bounds(0.2, 0.2), admits=RATIO, per_call=True)
def grpo(sampled: Sampled, bounds: Bounds) -> TokenLoss:
    """Return -min(r A, clip(r, 1 - low, 1 + high) A): PPO's clipped surrogate (arXiv:1707.06347 eq. 7).

    GRPO (arXiv:2402.03300 eq. 3) weighs every answer the same; Dr. GRPO (arXiv:2503.20783) and DAPO (arXiv:2503.14476)
    every token, DAPO with more room above 1 and without answers that were cut off.
    """
    return _clip(sampled.log_ratio().exp(), sampled.advantages, bounds)


def _clip(ratio: Float[Tensor, " token"], advantages: Float[Tensor, " token"], bounds: Bounds) -> TokenLoss:
    free = ratio * advantages
    clipped = ratio.clamp(1 - bounds.clip_low, 1 + bounds.clip_high) * advantages
    return TokenLoss(-torch.minimum(free, clipped), clipped < free)


@register("ppo", Bounds(0.2, 0.2, dual_clip=3.0), admits=RATIO)
def ppo(sampled: Sampled, bounds: Bounds) -> TokenLoss:
    """Return the clipped surrogate with a second bound for bad actions, -dual_clip * A (arXiv:1912.09729 eq. 5).

    Without it a bad action whose ratio has grown large has an unbounded gradient.
    """
    single = grpo(sampled, bounds)
    advantages = sampled.advantages
    bound = -bounds.dual_clip * advantages
    is_bounded = (advantages < 0) & (single.loss > bound)
    return TokenLoss(torch.where(is_bounded, bound, single.loss), single.is_clipped | is_bounded)


@register("rloo", Bounds(0.2, 0.2), admits=RATIO)
def rloo(sampled: Sampled, bounds: Bounds) -> TokenLoss:
    """Return the clipped surrogate on the ratio of the whole call, in equal shares to its tokens (arXiv:2402.14740).

    Where the policy is the one that sampled, its gradient is that of REINFORCE; the advantage should be against the
    other attempts (`leave_one_out`).
    """
    result = _clip(_call_ratio(sampled), sampled.advantages, bounds)
    return TokenLoss(result.loss / sampled.call_length(), result.is_clipped)


def _call_ratio(sampled: Sampled) -> Float[Tensor, " token"]:
    return sampled.of_call(sampled.log_ratio()).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()


@register("gspo", Bounds(3e-4, 4e-4), admits=RATIO, per_call=True)
def gspo(sampled: Sampled, bounds: Bounds) -> TokenLoss:
    """Return the clipped surrogate on s = (pi / mu)^(1/length), the ratio of the call per token.

    GSPO, arXiv:2507.18071 eq. 5. Its clip is a hundred times narrower than that of a token's ratio.
    """
    mean = sampled.of_call(sampled.log_ratio()) / sampled.call_length()
    return _clip(mean.exp(), sampled.advantages, bounds)


@register("cispo", Bounds(1.0, 1.0), admits=RATIO)
def cispo(sampled: Sampled, bounds: Bounds) -> TokenLoss:
    """Return -sg(clip(r, 1 - low, 1 + high)) A log pi: every token keeps its gradient, only its weight is bounded.

    CISPO, arXiv:2506.13585 eq. 4. `clip_low` = 1 leaves the lower side free, as the paper does; no weight above 2 keeps
    single lucky tokens from carrying an update.
    """
    ratio = sampled.log_ratio().exp().detach()
    weight = ratio.clamp(1 - bounds.clip_low, 1 + bounds.clip_high)
    return TokenLoss(-weight * sampled.advantages * sampled.policy_logprobs, weight != ratio)


@register("topr", Bounds(1.0, 0.0), admits=IDS | {Evidence.CUT})
def topr(sampled: Sampled, _bounds: Bounds) -> TokenLoss:
    """Return -w A log pi with weight 1 for good calls and min(pi / mu, 1), of the whole call, for bad ones.

    TOPR, arXiv:2503.14286 eq. 8: good calls need no ratio, and bad ones fade as the policy leaves them.
    """
    weight = torch.where(sampled.advantages < 0, _call_ratio(sampled).detach().clamp(max=1), 1.0)
    return TokenLoss(-weight * sampled.advantages * sampled.policy_logprobs, torch.zeros_like(weight, dtype=torch.bool))


@register("awr", Bounds(beta=1.0), admits=OWN, is_proportional=False, by_ratio=False)
def awr(sampled: Sampled, bounds: Bounds) -> TokenLoss:
    """Return -min(exp(A / beta), max_weight) log pi: imitation, the better the call the more (arXiv:1910.00177 eq. 8).

    No weight is negative: a bad call is imitated a little, never pushed away.
    """
    weight = (sampled.advantages / bounds.beta).exp().clamp(max=bounds.max_weight)
    return _unclipped(-weight * sampled.policy_logprobs)


@register("rft", Bounds(), admits=ANY, only_positive=True, is_proportional=False, by_ratio=False)
def rft(sampled: Sampled, _bounds: Bounds) -> TokenLoss:
    """Return -log pi of good calls, however good: imitation of what worked (rejection-sampling fine-tuning)."""
    return _unclipped(-(sampled.advantages > 0).to(sampled.policy_logprobs.dtype) * sampled.policy_logprobs)


@register("dro", Bounds(beta=1.0), admits=OWN, needs=frozenset({"reference"}))
def dro(sampled: Sampled, bounds: Bounds) -> TokenLoss:
    """Return -(A log pi - beta / 2 log(pi / reference)^2): a pull to the reference instead of a ratio.

    DRO (arXiv:2405.19107 eq. 4) token by token. Its optimum lies A / beta nats from the reference.
    """
    pull = 0.5 * bounds.beta * sampled.reference_log_ratio() ** 2
    return _unclipped(pull - sampled.advantages * sampled.policy_logprobs)


@register("dpo", Bounds(beta=0.1), admits=OWN, is_proportional=False, needs=frozenset({"reference", "pairs"}))
def dpo(sampled: Sampled, bounds: Bounds) -> TokenLoss:
    """Return -log sigmoid(beta (chosen - rejected)) of log-ratios to the reference, in equal shares to a call's tokens.

    DPO, arXiv:2305.18290 eq. 7; the sign of the advantage says which side of its pair a call is. Each call answers for
    the pair while the other side stands still, so the gradients of both add up to that of the pair, and the values to
    twice its loss.
    """
    assert sampled.opposite is not None
    own = sampled.of_call(sampled.reference_log_ratio())
    margin = bounds.beta * sampled.advantages.sign() * (own - sampled.opposite)
    return _unclipped(-logsigmoid(margin) / sampled.call_length())


@register("kto", Bounds(beta=0.1), admits=OWN, is_proportional=False, needs=frozenset({"reference", "mean"}))
def kto(sampled: Sampled, bounds: Bounds) -> TokenLoss:
    """Return 1 - sigmoid(+-beta (log-ratio - z)), in equal shares to a call's tokens (arXiv:2402.01306 eq. 8).

    The sign is that of the advantage; z is the mean log-ratio of the update's calls, 0 at least.
    """
    assert sampled.opposite is not None
    own = sampled.of_call(sampled.reference_log_ratio())
    margin = bounds.beta * sampled.advantages.sign() * (own - sampled.opposite)
    return _unclipped(torch.sigmoid(-margin) / sampled.call_length())


def weigh(tokens: Float[Tensor, " token"], *, denominator: float) -> Float[Tensor, ""]:
    """Sum over tokens, divided by a constant the whole update shares."""
    return tokens.sum() / denominator
