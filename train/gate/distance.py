"""How far the policy is from where the run began, and the way back when an update led too far."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from train.data.lineage import Sequence
from train.engine.learner import Learner, local
from train.losses.divergence import measured_kl

YARDSTICK = 64
"""Sequences on which the distance is measured: enough for a mean, few for every check."""

PART_OF_NIGHT = 4
"""Of the sequences of a short window no more than one in so many: each search for the step reads them several times."""

SMALLEST_YARDSTICK = 16

USUAL_LENGTH = 32
"""Tokens of a call up to which the KL budget is what the settings say."""

MOST_OF_ENTROPY = 0.4
"""Largest distance as a share of the entropy of a call: a policy that is sure of what it does is soon another one."""

MOST_MEASUREMENTS = 6
"""Of one way back: each costs a fraction of an update."""

MOST_EXTENSIONS = 12
"""Of a way that proves shorter than what is allowed."""

SMALLEST_SHARE = 1e-9
"""Of a way, below which nothing of it is worth keeping."""

CLOSE_ENOUGH = 0.85
"""Share of what is allowed from which the search for the furthest point ends."""


def call_budget(budget: float, mean_length: float) -> float:
    """Return the KL budget for calls of a mean length in tokens: as given for short ones, growing with the root.

    The same change of every token adds up over a call, but what a call learns is seldom in all of its tokens.

    >>> call_budget(0.5, 10), call_budget(0.5, 128)
    (0.5, 1.0)
    """
    return budget * max(1.0, math.sqrt(mean_length / USUAL_LENGTH))


@dataclass(frozen=True)
class Yardstick:
    """Sequences of the night, and what the model the run began with thought of their tokens.

    Distances are from there and not from what an engine recorded: rounding on the engine's side is no step of ours.
    """

    sequences: list[Sequence]
    home: Float[Tensor, " place"]
    """Log-probabilities of the trained tokens of the sequences under the model the run began with; 0 elsewhere."""

    budget: float
    """Nats a call."""

    @classmethod
    def of(cls, learner: Learner) -> "Yardstick":
        """Choose a sample of the calls the model may have sampled, evenly spread; before the first update."""
        own = learner.plan.own_sequences()
        size = min(YARDSTICK, max(SMALLEST_YARDSTICK, len(own) // PART_OF_NIGHT))
        step = max(1, len(own) // size)
        chosen = own[::step][:size]
        num_calls, num_tokens = _sizes(chosen)
        home = learner.score(chosen)
        allowed = call_budget(learner.config.kl_budget, num_tokens / max(1, num_calls))
        entropy = -float(home.sum()) / max(1, num_calls)  # of what the policy sampled itself, by one sample a call
        return cls(chosen, home, min(allowed, MOST_OF_ENTROPY * entropy))

    @torch.no_grad()
    def measure(self, learner: Learner) -> float:
        """Return how far the policy is from where the run began, nats a call; NaN when it cannot be said."""
        total = torch.zeros(1, dtype=torch.float64, device=learner.accelerator.device)
        for batch, counts in learner.share(self.sequences):
            sampled, _ = learner.sample(batch)
            log_ratio = sampled.policy_logprobs - self.home[learner.objective.positions(batch.calls)]
            if counts:
                total += measured_kl(log_ratio.double()).sum()
        learner.reshard()
        return float(learner.accelerator.reduce(total, "sum")) / max(1, _sizes(self.sequences)[0])

    @torch.no_grad()
    def mismatch(self, learner: Learner) -> float:
        """Return how far recorded log-probabilities are from the model's own, mean of absolutes, nats a token."""
        recorded = [sequence for sequence in self.sequences if sequence.is_recorded]
        total = torch.zeros(1, dtype=torch.float64, device=learner.accelerator.device)
        for batch, counts in learner.share(recorded):
            if counts:
                own = self.home[learner.objective.positions(batch.calls)]
                total += (own - batch.behavior_logprobs).double().abs().sum()
        return float(learner.accelerator.reduce(total, "sum")) / max(1, _sizes(recorded)[1])


def _sizes(sequences: list[Sequence]) -> tuple[int, int]:
    """Return the numbers of calls and of trained tokens."""
    return sum(len(each.calls) for each in sequences), sum(each.num_trained for each in sequences)


def copy_weights(learner: Learner) -> list[Tensor]:
    """Return a copy, on the CPU, of the weights that are trained, of this process's part of them."""
    return [local(weight.detach()).to("cpu", copy=True) for weight in learner.weights]


@torch.no_grad()
def are_finite(learner: Learner) -> bool:
    """Tell whether all trained weights are finite, on every process."""
    wrong = torch.zeros(1, device=learner.accelerator.device)
    for weight in learner.weights:
        wrong += ~local(weight).isfinite().all()
    return not float(learner.accelerator.reduce(wrong, "sum"))


@torch.no_grad()
def set_weights(learner: Learner, start: list[Tensor], end: list[Tensor] | None = None, share: float = 0.0) -> None:
    """Set the trained weights to the point on the line from `start` to `end` that is `share` of the way; 0 is exact."""
    for index, weight in enumerate(learner.weights):
        point = start[index] if end is None or not share else start[index].lerp(end[index], share)
        local(weight).copy_(point)


def go_along(
    learner: Learner,
    start: list[Tensor],
    directions: list[Tensor],
    measure: Callable[[], float],
    *,
    began: float,
    reach: float,
    allowed: float,
) -> tuple[float, float]:
    """Go from `start` along a line about as far as the allowed distance; return how far that is, and the distance.

    `reach`, multiples of `directions`, is tried first.
    """
    end = start
    for _ in range(MOST_EXTENSIONS):
        end = [each + reach * local(way).cpu() for each, way in zip(start, directions, strict=True)]
        set_weights(learner, end)
        found = measure() if are_finite(learner) else math.nan
        if not found <= allowed:
            share, found = go_back(learner, start, measure, began=began, found=found, allowed=allowed)
            return share * reach, found
        if found >= CLOSE_ENOUGH * allowed:
            return reach, found
        further = math.sqrt(max(0.9 * allowed - began, 0.0) / max(found - began, 1e-12))
        reach *= min(max(further, 1.3), 10.0)
    return reach, found


def go_back(
    learner: Learner,
    start: list[Tensor],
    measure: Callable[[], float],
    *,
    began: float,
    found: float,
    allowed: float,
) -> tuple[float, float]:
    """Go back towards `start` as far as the allowed distance demands; return the share that is kept, and the distance.

    `began` is the distance at `start`, `found` where the policy stands, NaN when that cannot be said. The distance
    grows about with the square of the way, so a few measurements do; the point taken was measured to be within.
    """
    end = copy_weights(learner)
    low, high = 0.0, 1.0
    kept, within = 0.0, began
    at_high = found
    for _ in range(MOST_MEASUREMENTS):
        share = _guess(low, high, within, at_high, allowed)
        if share < SMALLEST_SHARE:
            break
        set_weights(learner, start, end, share)
        reached = measure()
        if reached <= allowed:
            low = kept = share
            within = reached
            if within >= CLOSE_ENOUGH * allowed:
                break
        else:
            high, at_high = share, reached
    set_weights(learner, start, end, kept)
    return kept, within


def _guess(low: float, high: float, at_low: float, at_high: float, allowed: float) -> float:
    """Return a point between the last within and the first beyond: where a parabola has 0.9 of `allowed`."""
    if not math.isfinite(at_high):
        return high / 256 if low == 0 else (low * high) ** 0.5
    rise = max(at_high - at_low, 1e-12)
    way = math.sqrt(max(0.9 * allowed - at_low, 0.0) / rise)
    return low + (high - low) * min(max(way, 1 / 64), 0.9)
