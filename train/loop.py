"""The training loop: a plan goes in, a changed model comes out, one line of metrics an update."""

import contextlib
import random
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from foundation.errors import GateRefused
from foundation.narration import track
from train.lineage import Sequence
from train.losses import LOSSES, LossSettings, Sampled, behavior_kl, weigh
from train.pack import MicroBatch, collate, plan_batches
from train.plan import Plan
from train.settings import TrainConfig

REFERENCE_WIDTH = 128
REFERENCE_RATE = 3e-4
"""Measured on the demo's policy; the exponent 1.5 then meets the 1e-6 to 2e-6 that trainers use for 7 B models."""


def default_learning_rate(hidden_size: int) -> float:
    """Return the learning rate for a model's width.

    >>> f"{default_learning_rate(128):.1e}", f"{default_learning_rate(4096):.1e}"
    ('3.0e-04', '1.7e-06')
    """
    return float(REFERENCE_RATE * (REFERENCE_WIDTH / hidden_size) ** 1.5)


def order_updates(num_episodes: int, config: TrainConfig) -> list[tuple[int, list[int]]]:
    """Return for each update its epoch and its episodes, in an order of its own each epoch.

    The episodes of an epoch are dealt evenly, so no update is left with a handful.
    """
    per_epoch = max(1, round(num_episodes / config.episodes_per_update))
    updates = []
    for epoch in range(config.epochs):
        order = list(range(num_episodes))
        random.Random(f"{config.seed}/{epoch}").shuffle(order)  # noqa: S311 - an order, not a secret
        updates += [(epoch, share.tolist()) for share in np.array_split(order, per_epoch)]
    return updates


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


def learn(learner: Learner, write: Callable[[dict[str, Any]], None]) -> Trained:
    """Make the updates, give `write` the metrics of each, and say how it ended.

    Metrics are measured on the update's own episodes before its step. An update in which no call has an advantage is
    passed over.
    """
    config, plan = learner.config, learner.plan
    episodes = plan.episode_sequences()
    num_tokens = sum(sequence.num_trained for sequence in plan.sequences)
    tokens_per_episode = num_tokens / max(1, len(episodes))
    advantages = torch.from_numpy(plan.advantages.astype(np.float32)).to(learner.accelerator.device)
    num_updates, mismatch, last = 0, 0.0, dict[str, float]()
    schedule = order_updates(len(episodes), config)
    recent: deque[tuple[float, int]] = deque(maxlen=len(schedule) // config.epochs)
    for epoch, chosen in track(schedule, total=len(schedule), label="train"):
        began = time.monotonic()
        sequences = [plan.sequences[index] for episode in chosen for index in episodes[episode]]
        sequences = [sequence for sequence in sequences if teaches(sequence, plan, config)]
        if not sequences:
            continue
        # A constant of the night, times the episodes of this update: an episode weighs the same in whatever company it
        # is, and every token weighs the same (the Dr. GRPO argument, arXiv:2503.20783 §3.1).
        denominator = tokens_per_episode * len(chosen)
        metrics = accumulate(learner, sequences, advantages, denominator=denominator)
        if num_updates == 0:
            mismatch = metrics["log_ratio_abs"]
            _refuse_mismatch(mismatch, config)
        recent.append((metrics["kl_call"] * metrics["num_calls"], int(metrics["num_calls"])))
        if (moved := sum(kl for kl, _ in recent) / sum(calls for _, calls in recent)) > config.kl_budget:
            learner.optimizer.zero_grad()
            return Trained(num_updates, f"KL budget: {moved:.3f} nats a call over the last epoch", mismatch, last)
        norm = learner.accelerator.clip_grad_norm_(learner.tokens.parameters(), config.max_grad_norm)
        learner.optimizer.step()
        learner.optimizer.zero_grad()
        num_updates += 1
        last = metrics | {
            "reward": float(np.mean([plan.outcome_of(plan.sequences[episodes[episode][0]]) for episode in chosen])),
            "num_episodes": len(chosen),
            "grad_norm": float(norm),
            "learning_rate": learner.optimizer.param_groups[0]["lr"],
        }
        write({"update": num_updates, "epoch": epoch, **last, "duration_s": round(time.monotonic() - began, 3)})
    return Trained(num_updates, None, mismatch, last)


def teaches(sequence: Sequence, plan: Plan, config: TrainConfig) -> bool:
    """Tell whether any token of a sequence can have a gradient."""
    return config.behavior_kl > 0 or bool(plan.advantages[sequence.calls].any())


def accumulate(
    learner: Learner, sequences: list[Sequence], advantages: Tensor, *, denominator: float
) -> dict[str, float]:
    """Add up the gradient of one update over micro-batches and processes, and return its metrics.

    `advantages` are of each call. The gradient is that of the sum of token losses over `denominator`, however the
    sequences are split.
    """
    accelerator = learner.accelerator
    sums = torch.zeros(len(SUMMED), dtype=torch.float64, device=accelerator.device)
    ratio_max = torch.zeros((), device=accelerator.device)
    shares = list(_share(sequences, learner))
    for index, (batch, counts) in enumerate(shares):
        is_last = index == len(shares) - 1
        with contextlib.nullcontext() if is_last else accelerator.no_sync(learner.tokens):
            with accelerator.autocast():
                policy_logprobs, entropies = learner.tokens(
                    batch.input_ids, batch.attention_mask, batch.at, batch.targets, batch.temperature
                )
            sampled = Sampled(policy_logprobs, batch.behavior_logprobs, advantages[batch.calls])
            loss, is_clipped = token_losses(sampled, learner.config)
            # Data parallelism averages gradients over processes; the denominator is that of all of them together.
            share = weigh(loss, denominator=denominator) * accelerator.num_processes
            accelerator.backward(share if counts else share * 0.0)
        if counts:
            sums += _summed(sampled, loss, is_clipped, entropies)
            ratio_max = torch.maximum(ratio_max, sampled.log_ratio().detach().exp().max())
    totals = dict(zip(SUMMED, accelerator.reduce(sums, "sum").tolist(), strict=True))
    num_tokens = totals.pop("num_tokens")
    num_calls = len(np.unique(np.concatenate([sequence.calls for sequence in sequences])))
    return {
        "loss": totals.pop("loss") / denominator,
        "kl_call": totals["kl"] / num_calls,
        **{name: value / num_tokens for name, value in totals.items()},
        "ratio_max": float(accelerator.gather(ratio_max).max()),
        "num_tokens": num_tokens,
        "num_calls": num_calls,
        "num_forward_tokens": sum(len(sequence.ids) for sequence in sequences),
    }


def token_losses(sampled: Sampled, config: TrainConfig) -> tuple[Tensor, Tensor]:
    """Return the loss of each token as the settings say, and whether a clip held it."""
    settings = LossSettings(config.clip_low, config.clip_high, config.dual_clip)
    result = LOSSES[config.loss](sampled, settings)
    if not config.behavior_kl:
        return result.loss, result.is_clipped
    return result.loss + config.behavior_kl * behavior_kl(sampled), result.is_clipped


SUMMED = ("num_tokens", "loss", "ratio_mean", "clip_fraction", "kl", "log_ratio_abs", "entropy", "advantage_abs")


@torch.no_grad()
def _summed(sampled: Sampled, loss: Tensor, is_clipped: Tensor, entropies: Tensor) -> Tensor:
    """Return the sums over tokens that `SUMMED` names."""
    log_ratio = sampled.log_ratio()
    terms = (
        torch.ones_like(loss),
        loss,
        log_ratio.exp(),
        is_clipped,
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
    temperature = learner.plan.temperature
    for turn in range(-(-len(batches) // world)):
        index = turn * world + rank
        chosen = batches[index] if index < len(batches) else batches[0]
        members = [sequences[member] for member in chosen]
        yield collate(members, temperature, device=accelerator.device), index < len(batches)


def _refuse_mismatch(mismatch: float, config: TrainConfig) -> None:
    if mismatch > config.max_mismatch:
        raise GateRefused(
            f"{config.model} did not sample these calls: its log-probabilities differ from the recorded ones by "
            f"{mismatch:.3f} nats a token, {config.max_mismatch} at most (max_mismatch)",
            hint="Train the model that was serving; if it is that one, tokenizer, precision or sampling parameters "
            "differ between engine and trainer.",
        )
