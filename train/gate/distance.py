"""How far the policy is from the one that acted, and what becomes of an epoch that leads too far."""

from dataclasses import dataclass

import torch
from torch import Tensor

from train.data.lineage import Sequence
from train.engine.learner import Learner, local
from train.losses.registry import behavior_kl

YARDSTICK = 64
"""Sequences on which the distance is measured: enough for a mean, few for every epoch."""

BISECTIONS = 6
"""Steps of the search for the furthest point within the budget: to 1/64 of the way."""


@dataclass(frozen=True)
class Distance:
    """How far the policy is from the one that acted."""

    kl_call: float
    """Nats a call."""

    log_ratio_abs: float
    """Mean absolute log-ratio, nats a token."""


def choose_yardstick(sequences: list[Sequence]) -> list[Sequence]:
    """Return a sample of sequences, evenly spread over the log."""
    step = max(1, len(sequences) // YARDSTICK)
    return sequences[::step][:YARDSTICK]


@torch.no_grad()
def measure_distance(learner: Learner, sequences: list[Sequence]) -> Distance:
    """Measure how far the policy has moved from the one that acted, on the calls of the sequences."""
    sums = torch.zeros(3, dtype=torch.float64, device=learner.accelerator.device)
    for batch, counts in learner.share(sequences):
        sampled, _ = learner.sample(batch)
        terms = (behavior_kl(sampled), sampled.log_ratio().abs(), torch.ones_like(sampled.advantages))
        sums += counts * torch.stack([term.double().sum() for term in terms])
    kl, log_ratio_abs, num_tokens = learner.accelerator.reduce(sums, "sum").tolist()
    num_calls = sum(len(sequence.calls) for sequence in sequences)
    return Distance(kl / max(1, num_calls), log_ratio_abs / max(1, num_tokens))


def copy_weights(learner: Learner) -> list[Tensor]:
    """Return a copy, on the CPU, of the weights that are trained, of this process's part of them."""
    return [local(weight.detach()).to("cpu", copy=True) for weight in learner.weights]


@torch.no_grad()
def set_weights(learner: Learner, start: list[Tensor], end: list[Tensor] | None = None, share: float = 0.0) -> None:
    """Set the trained weights to the point on the line from `start` to `end` that is `share` of the way; 0 is exact."""
    for index, weight in enumerate(learner.weights):
        point = start[index] if end is None else start[index].lerp(end[index], share)
        local(weight).copy_(point)


def go_back(learner: Learner, start: list[Tensor], yardstick: list[Sequence]) -> tuple[float, Distance]:
    """Go back towards `start` as far as the budget demands; return the share of the way that is kept, and the distance.

    By bisection: the distance grows along the way but for noise, and every point taken was measured to be within.
    """
    end = copy_weights(learner)
    set_weights(learner, start)
    kept, within = 0.0, measure_distance(learner, yardstick)
    low, high = 0.0, 1.0
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        set_weights(learner, start, end, middle)
        found = measure_distance(learner, yardstick)
        if found.kl_call <= learner.config.kl_budget:
            low = kept = middle
            within = found
        else:
            high = middle
    set_weights(learner, start, end, kept)
    return kept, within
