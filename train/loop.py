"""The training loop: a plan goes in, a changed model comes out, one line of metrics an update."""

import contextlib
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from foundation.errors import GateRefused
from foundation.narration import track
from train.data.lineage import Sequence
from train.engine.learner import Learner, local
from train.engine.policy import SampledTokens
from train.engine.resume import Keeper, Progress
from train.gate.distance import choose_yardstick, copy_weights, go_back, measure_distance, set_weights
from train.losses.registry import weigh
from train.metrics.flops import peak_flops, update_flops
from train.metrics.measures import (
    CRITIC_ROWS,
    ROWS,
    describe_critic,
    describe_rewards,
    describe_roles,
    describe_staleness,
    describe_tokens,
    describe_values,
    gather_tokens,
    keep_tokens,
)
from train.metrics.stopwatch import Stopwatch
from train.plan import Plan
from train.settings import TrainConfig

REFERENCE_WIDTH = 128
REFERENCE_RATE = 3e-4
"""Measured on the demo's policy; the exponent 1.5 then meets the 1e-6 to 2e-6 that trainers use for 7 B models."""

ADAPTER_FACTOR = 10
"""An adapter wants about ten times the learning rate of full training, whatever its rank (LoRA Without
Regret, 2025)."""


def default_learning_rate(hidden_size: int, *, adapter: bool = False) -> float:
    """Return the learning rate for a model's width.

    >>> f"{default_learning_rate(128):.1e}", f"{default_learning_rate(4096):.1e}"
    ('3.0e-04', '1.7e-06')
    """
    rate = REFERENCE_RATE * (REFERENCE_WIDTH / hidden_size) ** 1.5
    return float(rate * (ADAPTER_FACTOR if adapter else 1))


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


def learn(learner: Learner, write: Callable[[dict[str, Any]], None], keeper: Keeper | None = None) -> Trained:
    """Make the updates, give `write` the metrics of each, and say how it ended.

    After every epoch the distance to the policy that acted is measured on a fixed sample of the night's calls, those
    without an advantage among them. Beyond the budget the epoch is taken back, or gone back from, and the run ends:
    what comes out is always within it. An update in which no call has an advantage is passed over.

    With a keeper the run goes on from what was kept, if anything was; `write` is given the earlier lines again first.
    """
    config = learner.config
    learner.prepare()  # before anything kept is loaded: the reference is the model the run began with
    yardstick = choose_yardstick(learner.plan.own_sequences())
    kept = None if keeper is None else keeper.load(learner)
    progress, start = (Progress(), copy_weights(learner)) if kept is None else kept
    if progress.mismatch is None:
        recorded = [sequence for sequence in yardstick if sequence.is_recorded]
        progress.mismatch = measure_distance(learner, recorded).log_ratio_abs
        _refuse_mismatch(progress.mismatch, config)
    for line in progress.lines:
        write(line)
    stopped = None
    for epoch in track(range(progress.epoch, config.epochs), total=config.epochs, label="train"):
        if not progress.position:
            start = copy_weights(learner)
        if config.token_critic:
            _value_tokens(learner, start)
        _run_epoch(learner, progress, start, keeper)
        found: dict[str, float] = {"kl_call": measure_distance(learner, yardstick).kl_call}
        if found["kl_call"] > config.kl_budget:
            stopped = f"KL budget: epoch {epoch} led {found['kl_call']:.3f} nats a call away"
            if config.kl_excess == "take_back":
                set_weights(learner, start)
                break
            share, distance = go_back(learner, start, yardstick)
            if not share:
                break
            stopped += f", {share:.2f} of its way was kept"
            found = {"kl_call": distance.kl_call, "kept_share": share}
        for line in progress.pending:
            progress.num_updates += 1
            progress.lines.append({"update": progress.num_updates, "epoch": epoch, **line, **found})
            write(progress.lines[-1])
        progress.epoch, progress.position, progress.pending = epoch + 1, 0, []
        if stopped is not None:
            break
        if keeper is not None:
            keeper.keep_if_due(learner, progress, start)
    last = progress.lines[-1] if progress.lines else {}
    return Trained(
        progress.num_updates,
        stopped,
        progress.mismatch,
        {name: value for name, value in last.items() if name not in ("update", "epoch")},
    )


def _value_tokens(learner: Learner, start: list[torch.Tensor]) -> None:
    """Give the tokens their advantages by the values the epoch begins with, also where it is gone on with."""
    now = copy_weights(learner)
    set_weights(learner, start)
    learner.objective.set_values(learner.score_values())
    set_weights(learner, now)


def _run_epoch(learner: Learner, progress: Progress, start: list[torch.Tensor], keeper: Keeper | None) -> None:
    """Make the updates of an epoch that are not through yet."""
    config, plan = learner.config, learner.plan
    episodes = plan.episode_sequences()
    tokens_per_episode = sum(sequence.num_trained for sequence in plan.sequences) / max(1, len(episodes))
    per_update = config.episodes_per_update
    if config.tokens_per_update is not None:
        per_update = max(1, round(config.tokens_per_update / tokens_per_episode))
    deals = deal_episodes(len(episodes), per_update, seed=f"{config.seed}/{progress.epoch}")
    for chosen in deals[progress.position :]:
        sequences = [plan.sequences[index] for episode in chosen for index in episodes[episode]]
        # A constant of the night, times the episodes of this update: an episode weighs the same in whatever company
        # it is, and every token weighs the same (the Dr. GRPO argument, arXiv:2503.20783 §3.1).
        metrics = _update(learner, sequences, denominator=tokens_per_episode * len(chosen))
        if metrics is not None:
            first = [plan.sequences[episodes[index][0]] for index in chosen]
            progress.pending.append(metrics | _describe_episodes(plan, [plan.episode_of(one) for one in first]))
        progress.position += 1
        if keeper is not None:
            keeper.keep_if_due(learner, progress, start)


def _describe_episodes(plan: Plan, episodes: list[int]) -> dict[str, float]:
    """Return what is measured of the episodes of an update, whatever the model makes of them."""
    logged = plan.logged
    outcomes = np.array([episode.outcome for episode in logged.episodes])
    indices = [index for episode in episodes for index in plan.calls_by_episode[episode]]
    calls = [logged.calls[index] for index in indices]
    episode = np.array([call.episode for call in calls])
    intermediate = np.array([call.intermediate for call in calls])
    found = describe_rewards(outcomes[episodes])
    found |= describe_roles([call.agent for call in calls], intermediate, outcomes[episode], episode)
    trained = [index for index, call in zip(indices, calls, strict=True) if call.set_aside is None]
    found |= describe_staleness([plan.lag_of(index) for index in trained])
    if plan.values is not None and plan.returns is not None:
        found |= describe_values(plan.values[indices], plan.returns[indices])
    return found


def _update(learner: Learner, sequences: list[Sequence], *, denominator: float) -> dict[str, float] | None:
    """Make one optimiser step and return its metrics; None when there was nothing to learn."""
    began = time.monotonic()
    teaching = [sequence for sequence in sequences if learner.objective.teaches(sequence)]
    if not teaching:
        return None
    watch = Stopwatch(learner.accelerator.device)
    opponents = learner.objective.opponents(teaching)
    if opponents:
        with watch.phase("score"):
            learner.objective.set_opponents(opponents, learner.score(opponents))
    metrics = accumulate(learner, teaching, denominator=denominator, watch=watch)
    with watch.phase("step"):
        norm = _clip_gradients(learner)
        learner.optimizer.step()
        learner.optimizer.zero_grad()
    metrics |= {f"{phase}_s": round(spent_s, 3) for phase, spent_s in watch.spent_s.items()}
    metrics |= {
        "grad_norm": float(norm),
        "weight_norm": _norm(learner),
        "learning_rate": learner.optimizer.param_groups[0]["lr"],
    }
    return metrics | _costs(learner, teaching, metrics["num_tokens"], duration_s=time.monotonic() - began)


def _clip_gradients(learner: Learner) -> torch.Tensor:
    """Bound the gradient of the policy, and that of the critic apart; return the norm the policy's had.

    In one norm a critic that errs much, as it does at first, would take from what the policy learns.
    """
    critic = learner.weights_of_critic
    policy = [weight for weight in learner.weights if all(weight is not other for other in critic)]
    bound = learner.config.max_grad_norm
    norm: torch.Tensor = learner.accelerator.clip_grad_norm_(policy, bound)
    if critic:
        learner.accelerator.clip_grad_norm_(critic, bound)
    return norm


def accumulate(
    learner: Learner, sequences: list[Sequence], *, denominator: float, watch: Stopwatch | None = None
) -> dict[str, float]:
    """Add up the gradient of one update over micro-batches and processes, and return the metrics of its tokens.

    The gradient is that of the sum of token losses over `denominator`, however the sequences are split. The token
    critic's losses are added as they are: they and the policy's have no weight in common.
    """
    accelerator = learner.accelerator
    watch = watch or Stopwatch(accelerator.device)
    kept: list[torch.Tensor] = []
    shares = list(learner.share(sequences))
    for index, (batch, counts) in enumerate(shares):
        is_last = index == len(shares) - 1
        with contextlib.nullcontext() if is_last else accelerator.no_sync(learner.tokens):
            with watch.phase("forward"):
                sampled, entropies = learner.sample(batch)
                token = learner.objective.losses(sampled)
                value_losses = learner.objective.value_losses(sampled)
                loss = token.loss if value_losses is None else token.loss + value_losses
            # Data parallelism averages gradients over processes; the denominator is that of all of them together.
            share = weigh(loss, denominator=denominator) * accelerator.num_processes
            with watch.phase("backward"):
                accelerator.backward(share * counts)
        if counts:
            kept.append(keep_tokens(sampled, token, entropies, value_losses))
    num_rows = len(ROWS) + len(CRITIC_ROWS) * learner.config.token_critic
    table = gather_tokens(kept, accelerator, num_rows=num_rows)
    found = describe_tokens(table, denominator=denominator) | describe_critic(table, denominator=denominator)
    return found | {
        "num_tokens": table.shape[1],
        "num_calls": sum(len(sequence.calls) for sequence in sequences),
        "num_forward_tokens": sum(len(sequence.ids) for sequence in sequences),
        "num_batches": len(shares) * accelerator.num_processes,
        "longest": max(len(sequence.ids) for sequence in sequences),
    }


@torch.no_grad()
def _norm(learner: Learner) -> float:
    """Return the norm of the trained weights; of this process's part where they are sharded."""
    return float(torch.stack([local(weight).float().norm() for weight in learner.weights]).norm())


def _costs(learner: Learner, sequences: list[Sequence], num_tokens: float, *, duration_s: float) -> dict[str, float]:
    """Return what an update took, and what of it was useful."""
    accelerator = learner.accelerator
    inner = accelerator.unwrap_model(learner.tokens)
    assert isinstance(inner, SampledTokens)
    lengths = [len(sequence.ids) for sequence in sequences]
    flops_per_s = update_flops(inner.policy, lengths, int(num_tokens)) / duration_s
    found = {
        "tokens_per_s": num_tokens / duration_s,
        "forward_tokens_per_s": sum(lengths) / duration_s,
        "flops_per_s": flops_per_s,
        "duration_s": round(duration_s, 3),
    }
    peak = peak_flops(accelerator.device)
    if peak is not None:
        found["mfu"] = flops_per_s / (peak * accelerator.num_processes)
    if accelerator.device.type == "cuda":
        found["memory_bytes"] = torch.cuda.max_memory_allocated(accelerator.device)
    return found


def _refuse_mismatch(mismatch: float, config: TrainConfig) -> None:
    if mismatch > config.max_mismatch:
        raise GateRefused(
            f"{config.model} did not sample these calls: its log-probabilities differ from the recorded ones by "
            f"{mismatch:.3f} nats a token, {config.max_mismatch} at most (max_mismatch)",
            hint="Train the model that was serving; if it is that one, tokenizer, precision or sampling parameters "
            "differ between engine and trainer.",
        )
