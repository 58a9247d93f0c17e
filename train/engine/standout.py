"""A step along what stands out of the noise: the weights whose gradient is alike in most of a night's batches.

A night is few episodes and a model many weights. The gradient of most weights is chance, and a step that follows it
spends the KL budget on nothing: under AdamW every weight moves by about as much, whatever is known of its gradient, and
on a policy that is precise, as of arithmetic, what moved by chance does harm. Here a pass over the episodes adds up the
gradients of its batches and their squares, and only then are weights moved, once: each by its mean over its standard
error t, shrunk by 1 - THRESHOLD / t^2 (the positive part of James and Stein's estimator, weight by weight), times the
size of its tensor (as LAMB, arXiv:1904.00962, and Adafactor, arXiv:1804.04235 §8, do), times how far the tensor as a
whole stands out. A single weight can hardly be told from noise; the sum over a tensor can: each batch's gradient is
multiplied with the sum of those before it, which are independent of it, and these products, over the root of the sum
of their squares, are about normal where there is nothing to learn. How far is not a rate but a search along that line
to what the KL budget allows, where all tensors together stand out more than chance explains; less far where they hardly
do, since some tensor always stands out most, and a night of coin tosses would else be followed as far as any other.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

THRESHOLD = 1.0
"""t^2 up to which a weight stays where it is: with `QUIET` two standard errors, so one in twenty moves by chance."""

QUIET = 1.0
"""Share of a tensor's mean standard error that is added to each weight's: the spread of a few batches may be small."""

BY_CHANCE = 1.0
"""Deviations by which a tensor as a whole must stand out to move at all; what goes beyond counts squared."""

CHANCE, SPREAD = 0.0753, 0.359
"""Mean and standard deviation of what a tensor stands out by, `BY_CHANCE` taken off and squared, where there is nothing
to learn: of max(0, z - 1)^2 for a normal z."""

CERTAIN = 3.0
"""Deviations by which all tensors together must stand out more than by chance for a step of full length."""

SMALLEST_SIZE = 0.01
"""Root mean square that a tensor is taken to have at least: adapters begin at 0."""

NUM_BATCHES = 48
"""Batches a pass is divided into: enough to know a standard error, and each as large as possible."""

LEAST_BATCHES = 16
"""Fewer of them, down to this, where the attempts at one task make larger ones: what they share is read once, and a
standard error is that of tasks, not of attempts that had the same prompt."""


class Standout(torch.optim.Optimizer):
    """Adds up gradients; `directions` says where they lead. It moves no weight itself, so its `lr` has no meaning."""

    def __init__(self, params: Iterable[Tensor] | Iterable[dict[str, Any]]) -> None:
        super().__init__(params, {"lr": 1.0})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Add the gradients of one batch."""
        del closure
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    for name in ("count", "agreement", "agreement_squares"):  # torch loads them in the weights' float32
                        state[name] = torch.zeros((), dtype=torch.float32)
                    state["sum"], state["squares"] = torch.zeros_like(weight), torch.zeros_like(weight)
                if not group["lr"]:  # torch asks for empty states so, before it fills them
                    continue
                state["count"] += 1
                agreement = _whole((state["sum"] * weight.grad).sum())
                state["agreement"] += agreement
                state["agreement_squares"] += agreement * agreement
                state["sum"] += weight.grad
                state["squares"] += weight.grad.square()

    @torch.no_grad()
    def directions(self, weights: Sequence[Tensor]) -> list[Tensor]:
        """Return the direction of each weight tensor, of its shape; all zero where nothing stands out.

        They take the place of the sums, so that no copy of the model more is needed: `begin_anew` comes next.
        """
        factors = [self._factor(weight) for weight in weights]
        largest = max(factors, default=0.0) or 1.0
        return [factor / largest * self._direction(weight) for weight, factor in zip(weights, factors, strict=True)]

    def evidence(self, weights: Sequence[Tensor]) -> float:
        """Return how sure it is that there is anything to learn, 0 to 1: by what all tensors stand out together."""
        number = sum(bool(self.state.get(weight)) for weight in weights)
        beyond = sum(self._factor(weight) for weight in weights) - CHANCE * number
        return min(1.0, max(0.0, beyond / (CERTAIN * SPREAD * math.sqrt(max(1, number)))))

    def _factor(self, weight: Tensor) -> float:
        return max(0.0, self.stands_out(weight) - BY_CHANCE) ** 2

    def stands_out(self, weight: Tensor) -> float:
        """Return by how many deviations the gradients of a tensor agree from batch to batch more than by chance."""
        state = self.state.get(weight, {})
        spread = math.sqrt(float(state["agreement_squares"])) if state else 0.0
        return float(state["agreement"]) / spread if spread else 0.0

    def _direction(self, weight: Tensor) -> Tensor:
        state = self.state.get(weight, {})
        count = float(state["count"]) if state else 0.0
        if count < 2:
            return torch.zeros_like(weight)
        mean = state["sum"] / count
        error = ((state["squares"] / count - mean.square()).clamp(min=0) / (count - 1)).sqrt()
        moving = error > 0
        typical = _whole(error.sum()) / max(1.0, _whole(moving.sum()))
        if not typical:
            return torch.zeros_like(weight)
        t = mean / (error + QUIET * typical)
        shrunk = t * (1 - THRESHOLD / t.square().clamp(min=1e-9)).clamp(min=0)
        size = max(_whole(weight.detach().float().square().mean()) ** 0.5, SMALLEST_SIZE)
        direction: Tensor = state["sum"].copy_(-shrunk * size)
        return direction

    @torch.no_grad()
    def begin_anew(self) -> None:
        """Forget the gradients, for the next pass."""
        for state in self.state.values():
            for sum_ in state.values():
                sum_.zero_()


def _whole(value: Tensor) -> float:
    """Return a number of all of a tensor, which other processes may hold parts of."""
    return float(value.full_tensor() if hasattr(value, "full_tensor") else value)


def standout(optimizer: torch.optim.Optimizer) -> Standout | None:
    """Return the optimiser inside the accelerator's wrapper, if it is one of these."""
    inner = getattr(optimizer, "optimizer", optimizer)
    return inner if isinstance(inner, Standout) else None
