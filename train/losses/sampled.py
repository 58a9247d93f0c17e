"""The sampled tokens of a batch as losses see them: flat tensors of equal length, and sums over whole calls."""

from dataclasses import dataclass, fields
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

MAX_LOG_RATIO = 20.0
"""Log-ratios are clamped here, as verl does: exp(20) is already no estimate of anything."""


@dataclass(frozen=True)
class Sampled:
    """The sampled tokens of a batch."""

    policy_logprobs: Float[Tensor, " token"]
    """Log-probability under the policy in training; carries the gradient."""

    behavior_logprobs: Float[Tensor, " token"]
    """Log-probability under the policy that sampled it: as recorded, else as the model in training began with."""

    advantages: Float[Tensor, " token"]
    """Advantage of the call each token belongs to."""

    calls: Int[Tensor, " token"] | None = None
    """Number of the call each token belongs to; tokens of a call stand together."""

    reference_logprobs: Float[Tensor, " token"] | None = None
    """Log-probability under the reference, for the losses that need it."""

    opposite: Float[Tensor, " token"] | None = None
    """For DPO and KTO: the log-ratio to the reference that the call's own is held against, without a gradient. For DPO
    that of the other call of the pair, for KTO the mean over the update, 0 at least."""

    values: Float[Tensor, " token"] | None = None
    """The token critic's value of the state before each token, where there is one; carries the critic's gradient."""

    old_values: Float[Tensor, " token"] | None = None
    """The same at the beginning of the epoch."""

    returns: Float[Tensor, " token"] | None = None
    """For the token critic: the return of the call each token belongs to."""

    def log_ratio(self) -> Float[Tensor, " token"]:
        """Return log(pi / mu)."""
        return (self.policy_logprobs - self.behavior_logprobs).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)

    def reference_log_ratio(self) -> Float[Tensor, " token"]:
        """Return log(pi / reference)."""
        assert self.reference_logprobs is not None
        return (self.policy_logprobs - self.reference_logprobs).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)

    def of_call(self, values: Float[Tensor, " token"]) -> Float[Tensor, " token"]:
        """Sum values over the tokens of each call and give every token the sum of its own."""
        assert self.calls is not None
        _, index = torch.unique_consecutive(self.calls, return_inverse=True)
        sums = values.new_zeros(int(index[-1]) + 1 if len(index) else 0).index_add(0, index, values)
        return sums[index]

    def call_length(self) -> Float[Tensor, " token"]:
        """Return for each token how many tokens its call has."""
        return self.of_call(torch.ones_like(self.advantages))

    def select(self, chosen: Bool[Tensor, " token"]) -> "Sampled":
        """Return the chosen tokens."""
        streams = {field.name: getattr(self, field.name) for field in fields(self)}
        kept: dict[str, Any] = {name: None if stream is None else stream[chosen] for name, stream in streams.items()}
        return Sampled(**kept)
