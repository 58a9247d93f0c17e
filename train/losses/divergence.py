"""How far two policies are from each other, by the log-probabilities of tokens one of them sampled. Pure functions."""

import torch
from jaxtyping import Float
from torch import Tensor

from train.losses.sampled import Sampled
from train.settings import Estimator

FARTHEST = 3.0
"""Log-ratio up to which k3 is taken as it is; what lies beyond counts as this, or one token would be all of a mean."""


def divergence(log_ratio: Float[Tensor, " token"], estimator: Estimator) -> Float[Tensor, " token"]:
    """Estimate KL(p || q) in nats from log(q / p) of tokens that p sampled (http://joschu.net/blog/kl-approx.html).

    With x = log(q / p): k1 is -x, unbiased and of either sign; k2 is x^2 / 2; k3 is e^x - 1 - x; to second order k2 and
    k3 are the same. Each explodes on one side, and training goes to both: k3 where a token of probability 1e-5 led to a
    reward and became likely, k2 where a bad token all but vanished. Their minimum, `smaller`, is smooth and never
    negative, and 8 to 15 % low where policies have parted: good to pull with, not to measure by.
    """
    if estimator == "k1":
        return -log_ratio
    k2 = 0.5 * log_ratio**2
    if estimator == "k2":
        return k2
    k3 = log_ratio.exp() - 1 - log_ratio
    return k3 if estimator == "k3" else torch.where(log_ratio > 0, k2, k3)


def measured_kl(log_ratio: Float[Tensor, " token"]) -> Float[Tensor, " token"]:
    """Estimate KL(p || q) for a limit: k3, unbiased but for tokens that became more than e^3 times as likely."""
    return log_ratio.clamp(max=FARTHEST).exp() - 1 - log_ratio.clamp(max=FARTHEST)


def behavior_kl(sampled: Sampled, estimator: Estimator = "smaller") -> Float[Tensor, " token"]:
    """Return the divergence of the policy from the one that acted, KL(mu || pi), in nats a token."""
    return divergence(sampled.log_ratio(), estimator)


def reference_kl(sampled: Sampled, estimator: Estimator = "smaller") -> Float[Tensor, " token"]:
    """Return the divergence of the policy from the reference, KL(pi || reference), in nats a token.

    The tokens are those of the policy that acted: each estimate is weighed by pi / mu, as TRL does by default
    (`use_bias_correction_kl`) and DeepSeek-V3.2. The gradient of the mean under mu is that of KL(pi || reference) for
    k1, k2 and k3; with the bare k1 it would push away from what was sampled whatever the reference says of it.
    """
    ratio, x = sampled.log_ratio().exp(), -sampled.reference_log_ratio()
    if estimator == "k1":
        return -ratio * x.detach()
    if estimator == "k3":
        return ratio * divergence(x, "k3")
    return ratio.detach() * divergence(x, estimator)
