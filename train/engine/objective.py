"""What the trained tokens of a run are for: the streams a loss sees beside the policy's own, and the loss of each call.

Tokens are looked up by the number of their call and their place in it, so it does not matter how sequences are packed.
"""

import math
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from train.credit.token_values import token_advantages, value_loss
from train.data.lineage import Sequence
from train.engine.pack import MicroBatch
from train.engine.truncation import Kept
from train.losses.correction import decouple
from train.losses.divergence import behavior_kl, reference_kl
from train.losses.registry import LOSSES, Bounds, Spec, Stream, TokenLoss
from train.losses.sampled import Sampled
from train.plan import Plan
from train.settings import TrainConfig

MOST_HINDSIGHT = 1.0
"""Nats by which hindsight counts for or against one token at most: a token that it calls impossible says no more."""

AWR_ESS = 0.5
"""Share of the calls that stay effective under AWR's weights at its default temperature."""


def awr_temperature(advantages: NDArray[np.float64], share: float = AWR_ESS) -> float:
    """Return the temperature at which weights exp(A / beta) leave a share of the calls effective; 1 if all are alike.

    >>> round(awr_temperature(np.array([1.0, -1.0]), share=2 / 3), 3)
    1.135
    """
    if not len(advantages) or np.ptp(advantages) == 0:
        return 1.0
    low, high = (scale * float(np.ptp(advantages)) for scale in (1e-3, 1e3))
    for _ in range(60):  # the share grows with the temperature
        beta = math.sqrt(low * high)
        weight = np.exp((advantages - advantages.max()) / beta)
        effective = weight.sum() ** 2 / (weight**2).sum() / len(weight)
        low, high = (beta, high) if effective < share else (low, beta)
    return high


class Objective:
    """The objective of one run. The loop asks it for `sampled` tokens of a micro-batch and for their `losses`.

    Before the first update the loop hands it the log-probabilities of the model it begins with, if `needs_reference`;
    before every update those of the moment for the sequences `opponents` names; before every epoch, with a token
    critic, the values of the moment.
    """

    def __init__(self, plan: Plan, config: TrainConfig, *, device: torch.device) -> None:
        self._plan, self._config, self._device = plan, config, device
        lengths = np.array([0 if call.set_aside else len(call.response_ids) for call in plan.logged.calls], dtype=int)
        self.num_tokens = int(lengths.sum())
        """Trained tokens of all calls; `positions` lie below it."""
        self._offset = torch.from_numpy(np.cumsum(lengths) - lengths).to(device)
        self._length = torch.from_numpy(lengths).to(device)
        self._losses = plan.route.losses
        self._loss = torch.from_numpy(plan.route.loss).to(device)
        self._weight = torch.from_numpy(self._weights(lengths)).to(device)
        self._bounds = {name: self._bounds_of(name, number) for number, name in enumerate(self._losses)}
        self._kept: Kept | None = None
        self._reference: Tensor | None = None
        self._hindsight: Tensor | None = None
        told = np.zeros(len(lengths), dtype=bool)
        told[[int(each.call[-1]) for each in plan.hindsight]] = True
        proportional = np.array([spec.is_proportional for spec in self._specs()], dtype=bool)[plan.route.loss]
        self._is_told = told & proportional & (plan.route.weight > 0)
        self._values: Tensor | None = None
        self._token_advantages: Tensor | None = None
        self._opposite = torch.zeros(len(lengths), dtype=torch.float64, device=device)
        self._sequence_of = {int(call): number for number, each in enumerate(plan.sequences) for call in each.calls}

    def _specs(self) -> list[Spec]:
        return [LOSSES[name] for name in self._losses]

    def _weights(self, lengths: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the weight of each token of a call: 1, or the same for every call where the loss wants that."""
        trained = lengths[lengths > 0]
        mean = trained.mean() if len(trained) else 1.0
        per_call = np.array([spec.per_call for spec in self._specs()], dtype=bool)[self._plan.route.loss]
        return np.where(per_call, mean / np.maximum(lengths, 1), 1.0) * self._plan.route.weight

    def _bounds_of(self, name: str, number: int) -> Bounds:
        config, usual = self._config, LOSSES[name].bounds
        beta = config.beta
        if beta is None and name == "awr":
            chosen = (self._plan.route.loss == number) & (self._plan.route.weight > 0)
            beta = awr_temperature(self._plan.advantages[chosen])
        return replace(
            usual,
            clip_low=usual.clip_low if config.clip_low is None else config.clip_low,
            clip_high=usual.clip_high if config.clip_high is None else config.clip_high,
            dual_clip=config.dual_clip,
            beta=usual.beta if beta is None else beta,
        )

    def _need(self, stream: Stream) -> bool:
        return any(stream in spec.needs for spec in self._specs())

    @property
    def needs_reference(self) -> bool:
        """Tell whether anything needs the log-probabilities of the model the run begins with."""
        config = self._config
        is_asked = self._need("reference") or config.reference_kl > 0 or config.correction != "none"
        is_asked = is_asked or bool(self._plan.hindsight)
        return is_asked or any(self._lacks_ratio(sequence) for sequence in self._plan.sequences)

    def _lacks_ratio(self, sequence: Sequence) -> bool:
        """Tell whether a sequence is trained by a ratio to a policy whose log-probabilities nobody wrote down."""
        if sequence.is_recorded:
            return False
        by_ratio = np.array([spec.by_ratio for spec in self._specs()], dtype=bool)
        return self._config.behavior_kl > 0 or bool(by_ratio[self._plan.route.loss[sequence.calls]].any())

    def set_kept(self, kept: Kept | None) -> None:
        """Take what was left to sample each trained token from, by place; null where no call was cut."""
        self._kept = kept

    def kept_of(self, calls: Int[Tensor, " token"]) -> Kept | None:
        """Return what was left to sample the tokens of calls from."""
        return None if self._kept is None else self._kept[self.positions(calls)]

    def set_reference(self, logprobs: Float[Tensor, " place"]) -> None:
        """Take the log-probabilities of all trained tokens under the model the run begins with."""
        self._reference = logprobs

    def set_hindsight(self, logprobs: Float[Tensor, " place"]) -> None:
        """Take the log-probabilities that the model the run begins with gives its answers, told what was said of them.

        What they are above those it gave untold is added to a token's advantage, times `feedback`.
        """
        assert self._reference is not None
        is_told = torch.from_numpy(self._is_told).to(self._device).repeat_interleave(self._length)
        gain = (logprobs - self._reference).clamp(-MOST_HINDSIGHT, MOST_HINDSIGHT)
        self._hindsight = torch.where(is_told, self._config.feedback * gain, 0.0)

    @property
    def values(self) -> Float[Tensor, " place"]:
        """The values the advantages of the moment are by; 0 for all tokens before there were any."""
        return torch.zeros(self.num_tokens, device=self._device) if self._values is None else self._values

    def set_values(self, values: Float[Tensor, " place"]) -> None:
        """Take the values of the states before all trained tokens; until the next, advantages are by these."""
        targets, negative = self._plan.targets, self._config.negative
        assert targets is not None
        advantages = token_advantages(
            values.cpu().double().numpy(), targets, self._length.cpu().numpy(), lambda_=self._config.token_lambda
        )
        self._values = values
        self._token_advantages = torch.from_numpy(np.where(advantages < 0, negative, 1.0) * advantages).to(values)

    def opponents(self, sequences: list[Sequence]) -> list[Sequence]:
        """Return the sequences that must be scored before an update over `sequences`: none, but for DPO and KTO."""
        plan = self._plan
        if self._need("mean"):
            return sequences
        if not self._need("pairs"):
            return []
        partners = {int(plan.route.partner[call]) for sequence in sequences for call in sequence.calls}
        numbers = sorted({self._sequence_of[partner] for partner in partners if partner >= 0})
        return [plan.sequences[number] for number in numbers]

    def set_opponents(self, sequences: list[Sequence], logprobs: Float[Tensor, " place"]) -> None:
        """Take the log-probabilities of the moment of the tokens of `opponents(sequences)`."""
        assert self._reference is not None
        scored = torch.zeros(len(self._offset), dtype=torch.float64, device=self._device)
        owner = torch.repeat_interleave(torch.arange(len(self._offset), device=self._device), self._length)
        scored.index_add_(0, owner, (logprobs - self._reference).double())
        if self._need("pairs"):
            partner = torch.from_numpy(self._plan.route.partner).to(self._device)
            self._opposite = scored[partner.clamp(min=0)]
            return
        calls = torch.from_numpy(np.unique(np.concatenate([sequence.calls for sequence in sequences])))
        self._opposite = scored[calls.to(self._device)].mean().clamp(min=0).expand(len(self._offset))

    def positions(self, calls: Int[Tensor, " token"]) -> Int[Tensor, " token"]:
        """Return the place of each token among all trained tokens; the tokens of a call stand together, in order."""
        if not len(calls):
            return calls
        begins = torch.ones_like(calls, dtype=torch.bool)
        begins[1:] = calls[1:] != calls[:-1]
        first = torch.nonzero(begins).squeeze(-1)
        rank = torch.arange(len(calls), device=calls.device) - first[torch.cumsum(begins, 0) - 1]
        return self._offset[calls] + rank

    def teaches(self, sequence: Sequence) -> bool:
        """Tell whether any token of a sequence can have a gradient."""
        if self._config.behavior_kl > 0 or self._config.reference_kl > 0:
            return True
        calls, route = sequence.calls, self._plan.route
        if self._config.token_critic:
            return bool((route.weight[calls] > 0).any())
        if self._is_told[calls].any():
            return True
        at_zero = np.array([not spec.is_proportional for spec in self._specs()], dtype=bool)[route.loss[calls]]
        return bool((((self._plan.advantages[calls] != 0) | at_zero) & (route.weight[calls] > 0)).any())

    def sampled(
        self, policy_logprobs: Float[Tensor, " token"], batch: MicroBatch, values: Float[Tensor, " token"] | None = None
    ) -> Sampled:
        """Return the sampled tokens of a micro-batch, every stream filled in; `values` are the token critic's.

        Where nothing was recorded, the policy that acted is taken for the one the run begins with.
        """
        known = batch.behavior_logprobs
        reference = None
        if self._reference is not None:
            reference = self._reference[self.positions(batch.calls)].to(policy_logprobs.dtype)
            known = torch.where(known.isnan(), reference.to(known.dtype), known)
        else:
            known = torch.where(known.isnan(), policy_logprobs.detach().to(known.dtype), known)
        opposite = self._opposite[batch.calls].to(policy_logprobs.dtype)
        advantages = batch.advantages
        if self._hindsight is not None:
            advantages = advantages + self._hindsight[self.positions(batch.calls)].to(advantages.dtype)
        sampled = Sampled(policy_logprobs, known, advantages, batch.calls, reference, opposite)
        if values is None or self._values is None or self._token_advantages is None:
            return sampled
        places = self.positions(batch.calls)
        targets = torch.from_numpy(self._plan.targets).to(values)
        return replace(
            sampled,
            advantages=self._token_advantages[places].to(batch.advantages),
            values=values,
            old_values=self._values[places].to(values),
            returns=targets[batch.calls],
        )

    def losses(self, sampled: Sampled) -> TokenLoss:
        """Return the loss of each token as the plan routes its call, and whether a clip held it."""
        config = self._config
        assert sampled.calls is not None
        chosen = self._loss[sampled.calls]
        loss = torch.zeros_like(sampled.policy_logprobs)
        is_clipped = torch.zeros_like(chosen, dtype=torch.bool)
        for number, name in enumerate(self._losses):
            mask = chosen == number
            result, correction = self._one(name, sampled.select(mask))
            loss = loss.masked_scatter(mask, (result.loss * correction).to(loss.dtype))
            is_clipped = is_clipped.masked_scatter(mask, result.is_clipped)
        loss = loss * self._weight[sampled.calls].to(loss.dtype)
        if config.behavior_kl:
            loss = loss + config.behavior_kl * behavior_kl(sampled, config.kl_estimator)
        if config.reference_kl:
            loss = loss + config.reference_kl * reference_kl(sampled, config.kl_estimator)
        return TokenLoss(loss, is_clipped)

    def value_losses(self, sampled: Sampled) -> Float[Tensor, " token"] | None:
        """Return the token critic's loss of each token; null where there is no critic."""
        if not self._config.token_critic:
            return None
        assert sampled.values is not None
        assert sampled.old_values is not None
        assert sampled.returns is not None
        return value_loss(sampled.values, sampled.old_values, sampled.returns)

    def _one(self, name: str, sampled: Sampled) -> tuple[TokenLoss, Tensor]:
        decoupled, correction = decouple(sampled, self._config.correction, self._config.correction_cap)
        return LOSSES[name].loss(decoupled, self._bounds[name]), correction
