"""The training loop: a plan goes in, a changed model comes out, one line of metrics an update."""

import contextlib
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from foundation.errors import GateRefused
from foundation.narration import track
from train.lineage import Sequence
from train.losses import Sampled, TokenLoss, behavior_kl, weigh
from train.objective import Objective
from train.pack import MicroBatch, collate, plan_batches
from train.plan import Plan
from train.settings import TrainConfig

YARDSTICK = 64
"""Sequences on which the distance to the policy that acted is measured: enough for a mean, few for every epoch."""

REFERENCE_WIDTH = 128
REFERENCE_RATE = 3e-4
"""Measured on the demo's policy; the exponent 1.5 then meets the 1e-6 to 2e-6 that trainers use for 7 B models."""


def default_learning_rate(hidden_size: int) -> float:
    """Return the learning rate for a model's width.

    >>> f"{default_learning_rate(128):.1e}", f"{default_learning_rate(4096):.1e}"
    ('3.0e-04', '1.7e-06')
    """
    return float(REFERENCE_RATE * (REFERENCE_WIDTH / hidden_size) ** 1.5)


def deal_episodes(num_episodes: int, episodes_per_update: int, *, seed: str) -> list[list[int]]:
    """Deal the episodes of one epoch to its updates, in a random order and evenly: no update is left with a handful."""
    order = list(range(num_episodes))
    random.Random(seed).shuffle(order)  # noqa: S311 - an order, not a secret
    shares = np.array_split(order, max(1, round(num_episodes / episodes_per_update)))
    return [share.tolist() for share in shares]


@dataclass(frozen=True)
class Trained:
    """How a run ended."""

    num_updates: int
    stopped: str | None
    """Why before the last epoch was through; null when it was."""

    mismatch: float
    """Mean absolute difference of recorded and own log-probabilities before the first update, nats a token."""

    last: dict[str, float]
    """Metrics of the last update."""


@dataclass(frozen=True)
class Learner:
    """The model as the accelerator wrapped it, its optimiser, and the plan they follow."""

    accelerator: Accelerator
    tokens: torch.nn.Module
    """`train.policy.SampledTokens` over the model."""

    optimizer: torch.optim.Optimizer
    plan: Plan
    config: TrainConfig

    @cached_property
    def objective(self) -> Objective:
        """What the tokens are trained for."""
        return Objective(self.plan, self.config, device=self.accelerator.device)


def learn(learner: Learner, write: Callable[[dict[str, Any]], None]) -> Trained:
    """Make the updates, give `write` the metrics of each, and say how it ended.

    After every epoch the distance to the policy that acted is measured on a fixed sample of the night's calls, those
    without an advantage among them. Beyond the budget the epoch is taken back and the run ends, so what comes out is
    always within it. An update in which no call has an advantage is passed over.
    """
    config, plan = learner.config, learner.plan
    episodes = plan.episode_sequences()
    tokens_per_episode = sum(sequence.num_trained for sequence in plan.sequences) / max(1, len(episodes))
    yardstick = choose_yardstick(plan.sequences)
    mismatch = measure_distance(learner, yardstick).log_ratio_abs
    _refuse_mismatch(mismatch, config)
    num_updates, last = 0, dict[str, float]()
    for epoch in track(range(config.epochs), total=config.epochs, label="train"):
        kept = [weight.detach().to("cpu", copy=True) for weight in learner.tokens.parameters()]
        lines = []
        for chosen in deal_episodes(len(episodes), config.episodes_per_update, seed=f"{config.seed}/{epoch}"):
            sequences = [plan.sequences[index] for episode in chosen for index in episodes[episode]]
            # A constant of the night, times the episodes of this update: an episode weighs the same in whatever company
            # it is, and every token weighs the same (the Dr. GRPO argument, arXiv:2503.20783 §3.1).
            metrics = _update(learner, sequences, denominator=tokens_per_episode * len(chosen))
            if metrics is not None:
                outcome = float(np.mean([plan.outcome_of(plan.sequences[episodes[index][0]]) for index in chosen]))
                lines.append(metrics | {"reward": outcome, "num_episodes": len(chosen)})
        distance = measure_distance(learner, yardstick).kl_call
        if distance > config.kl_budget:
            _restore(learner, kept)
            return Trained(num_updates, f"KL budget: epoch {epoch} led {distance:.3f} nats a call away", mismatch, last)
        for line in lines:
            num_updates += 1
            last = line | {"kl_call": distance}
            write({"update": num_updates, "epoch": epoch, **last})
    return Trained(num_updates, None, mismatch, last)


def _update(learner: Learner, sequences: list[Sequence], *, denominator: float) -> dict[str, float] | None:
    """Make one optimiser step and return its metrics, measured before it; None when there was nothing to learn."""
    began = time.monotonic()
    teaching = [sequence for sequence in sequences if teaches(sequence, learner)]
    if not teaching:
        return None
    metrics = accumulate(learner, teaching, denominator=denominator)
    norm = learner.accelerator.clip_grad_norm_(learner.tokens.parameters(), learner.config.max_grad_norm)
    learner.optimizer.step()
    learner.optimizer.zero_grad()
    return metrics | {
        "grad_norm": float(norm),
        "learning_rate": learner.optimizer.param_groups[0]["lr"],
        "duration_s": round(time.monotonic() - began, 3),
    }


@torch.no_grad()
def _restore(learner: Learner, kept: list[Tensor]) -> None:
    for weight, before in zip(learner.tokens.parameters(), kept, strict=True):
        weight.copy_(before)


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
    for batch, counts in _share(sequences, learner):
        sampled, _ = _sampled(learner, batch)
        terms = (behavior_kl(sampled), sampled.log_ratio().abs(), torch.ones_like(sampled.advantages))
        sums += torch.stack([term.double().sum() for term in terms]) * counts
    kl, log_ratio_abs, num_tokens = learner.accelerator.reduce(sums, "sum").tolist()
    return Distance(kl / sum(len(sequence.calls) for sequence in sequences), log_ratio_abs / num_tokens)


def teaches(sequence: Sequence, learner: Learner) -> bool:
    """Tell whether any token of a sequence can have a gradient."""
    return learner.config.behavior_kl > 0 or bool(learner.plan.advantages[sequence.calls].any())


def accumulate(learner: Learner, sequences: list[Sequence], *, denominator: float) -> dict[str, float]:
    """Add up the gradient of one update over micro-batches and processes, and return its metrics.

    The gradient is that of the sum of token losses over `denominator`, however the sequences are split.
    """
    accelerator = learner.accelerator
    sums = torch.zeros(len(SUMMED), dtype=torch.float64, device=accelerator.device)
    ratio_max = torch.zeros((), device=accelerator.device)
    shares = list(_share(sequences, learner))
    for index, (batch, counts) in enumerate(shares):
        is_last = index == len(shares) - 1
        with contextlib.nullcontext() if is_last else accelerator.no_sync(learner.tokens):
            sampled, entropies = _sampled(learner, batch)
            token = learner.objective.losses(sampled)
            # Data parallelism averages gradients over processes; the denominator is that of all of them together.
            share = weigh(token.loss, denominator=denominator) * accelerator.num_processes
            accelerator.backward(share * counts)
        if counts:
            sums += _summed(sampled, token, entropies)
            ratio_max = torch.maximum(ratio_max, sampled.log_ratio().detach().exp().max())
    totals = dict(zip(SUMMED, accelerator.reduce(sums, "sum").tolist(), strict=True))
    num_tokens = totals.pop("num_tokens")
    return {
        "loss": totals.pop("loss") / denominator,
        **{name: value / num_tokens for name, value in totals.items()},
        "ratio_max": float(accelerator.gather(ratio_max).max()),
        "num_tokens": num_tokens,
        "num_calls": sum(len(sequence.calls) for sequence in sequences),
        "num_forward_tokens": sum(len(sequence.ids) for sequence in sequences),
    }


def _sampled(learner: Learner, batch: MicroBatch) -> tuple[Sampled, Tensor]:
    """Run the model over a micro-batch; return its sampled tokens and their entropies."""
    with learner.accelerator.autocast():
        policy_logprobs, entropies = learner.tokens(
            batch.input_ids, batch.attention_mask, batch.at, batch.targets, batch.temperature
        )
    return learner.objective.sampled(policy_logprobs, batch), entropies


SUMMED = ("num_tokens", "loss", "ratio_mean", "clip_fraction", "kl", "log_ratio_abs", "entropy", "advantage_abs")


@torch.no_grad()
def _summed(sampled: Sampled, token: TokenLoss, entropies: Tensor) -> Tensor:
    """Return the sums over tokens that `SUMMED` names."""
    log_ratio = sampled.log_ratio()
    terms = (
        torch.ones_like(token.loss),
        token.loss,
        log_ratio.exp(),
        token.is_clipped,
        behavior_kl(sampled),
        log_ratio.abs(),
        entropies,
        sampled.advantages.abs(),
    )
    return torch.stack([term.double().sum() for term in terms])


def _share(sequences: list[Sequence], learner: Learner) -> Iterator[tuple[MicroBatch, bool]]:
    """Yield this process's micro-batches; every process gets equally many, the last ones perhaps only for company."""
    accelerator = learner.accelerator
    batches = plan_batches([len(sequence.ids) for sequence in sequences], learner.config.tokens_per_batch)
    rank, world = accelerator.process_index, accelerator.num_processes
    temperature, advantages = learner.plan.temperature, learner.plan.advantages
    for turn in range(-(-len(batches) // world)):
        index = turn * world + rank
        chosen = batches[index] if index < len(batches) else batches[0]
        members = [sequences[member] for member in chosen]
        yield collate(members, temperature, advantages, device=accelerator.device), index < len(batches)


def _refuse_mismatch(mismatch: float, config: TrainConfig) -> None:
    if mismatch > config.max_mismatch:
        raise GateRefused(
            f"{config.model} did not sample these calls: its log-probabilities differ from the recorded ones by "
            f"{mismatch:.3f} nats a token, {config.max_mismatch} at most (max_mismatch)",
            hint="Train the model that was serving; if it is that one, tokenizer, precision or sampling parameters "
            "differ between engine and trainer.",
        )
