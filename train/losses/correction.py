"""Corrections for calls that another policy sampled than the one an update starts from. Pure functions.

With `none` the loss's own ratio goes straight from the policy to the one that acted, pi / mu, and bounds it by itself.
Decoupled (arXiv:2505.24298 eq. 5), it goes to the reference, the model as the run began, and what lies between the
reference and the behavior policy, rho = reference / mu, is a constant weight: bounded, or a mask. Masked tokens stay in
the denominator, so that what is left does not grow.
"""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from train.losses.sampled import MAX_LOG_RATIO, Sampled
from train.settings import Correction


def decouple(sampled: Sampled, correction: Correction, cap: float) -> tuple[Sampled, Float[Tensor, " token"]]:
    """Return tokens whose ratio is to the reference, and the weight of each for how far that is from who acted.

    `token_truncate` is min(rho, cap); `token_mask` rho where 1/cap <= rho <= cap, else 0; `call_truncate` and
    `call_mask` the same with the product of rho over the call; `call_band` min(rho, cap), where the geometric mean over
    the call lies between 1/cap and cap: alike for short calls and long ones.
    """
    if correction == "none":
        return sampled, torch.ones_like(sampled.advantages)
    assert sampled.reference_logprobs is not None
    log_rho = (sampled.reference_logprobs - sampled.behavior_logprobs).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
    weight, judged = log_rho.exp(), log_rho
    if correction in ("call_truncate", "call_mask"):
        judged = sampled.of_call(log_rho).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
        weight = judged.exp()
    elif correction == "call_band":
        judged = sampled.of_call(log_rho) / sampled.call_length()
        weight = weight.clamp(max=cap)  # a mean near 1 may hide one token of thousands
    rho = judged.exp()
    if correction in ("token_truncate", "call_truncate"):
        weight = weight.clamp(max=cap)
    else:
        weight = torch.where((rho >= 1 / cap) & (rho <= cap), weight, 0.0)
    return replace(sampled, behavior_logprobs=sampled.reference_logprobs), weight
