"""One optimiser step: the gradient of its episodes however they are split, bounded, applied, and what it was like."""

import contextlib
import math
import time

import torch

from train.data.lineage import Sequence
from train.engine.learner import Learner, local
from train.engine.policy import SampledTokens
from train.engine.standout import standout
from train.losses.registry import weigh
from train.metrics.flops import peak_flops, update_flops
from train.metrics.measures import (
    CRITIC_ROWS,
    ROWS,
    describe_critic,
    describe_tokens,
    gather_tokens,
    keep_tokens,
)
from train.metrics.stopwatch import Stopwatch


class NotFinite(ArithmeticError):
    """A loss or a gradient of an update is NaN or infinite; no weight was changed."""


def update(learner: Learner, sequences: list[Sequence], *, denominator: float) -> dict[str, float] | None:
    """Make one optimiser step and return its metrics; None when there was nothing to learn.

    Raises `NotFinite`, and leaves weights and optimiser as they were, when the loss or the gradient is not finite.
    """
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
        wrong = [name for name, value in (("loss", metrics["loss"]), ("gradient", norm)) if not math.isfinite(value)]
        if wrong:
            learner.optimizer.zero_grad()
            raise NotFinite(f"its {' and '.join(wrong)} {'are' if len(wrong) > 1 else 'is'} not finite")
        learner.optimizer.step()
        learner.optimizer.zero_grad()
    metrics |= {f"{phase}_s": round(spent_s, 3) for phase, spent_s in watch.spent_s.items()}
    metrics |= {
        "grad_norm": norm,
        "weight_norm": _norm(learner),
        "learning_rate": learner.optimizer.param_groups[0]["lr"],
    }
    return metrics | _costs(learner, teaching, metrics, duration_s=time.monotonic() - began)


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
    num_read = torch.zeros(1, dtype=torch.int64, device=accelerator.device)
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
            num_read += batch.input_ids.numel()
            kept.append(keep_tokens(sampled, token, entropies, value_losses))
    num_rows = len(ROWS) + len(CRITIC_ROWS) * learner.config.token_critic
    table = gather_tokens(kept, accelerator, num_rows=num_rows)
    found = describe_tokens(table, denominator=denominator) | describe_critic(table, denominator=denominator)
    return found | {
        "num_tokens": table.shape[1],
        "num_calls": sum(len(sequence.calls) for sequence in sequences),
        "num_forward_tokens": int(accelerator.reduce(num_read, "sum")),
        "num_batches": len(shares) * accelerator.num_processes,
        "longest": max(len(sequence.ids) for sequence in sequences),
    }


def _clip_gradients(learner: Learner) -> float:
    """Bound the gradients of policy and critic, each apart; return the policy's norm, NaN if either is not finite.

    In one norm a critic that errs much, as it does at first, would take from what the policy learns.
    """
    critic = learner.weights_of_critic
    policy = [weight for weight in learner.weights if all(weight is not other for other in critic)]
    # One that weighs batches against one another must see them as they are.
    bound = math.inf if standout(learner.optimizer) else learner.config.max_grad_norm
    norm = float(learner.accelerator.clip_grad_norm_(policy, bound))
    if critic and not math.isfinite(float(learner.accelerator.clip_grad_norm_(critic, bound))):
        return math.nan
    return norm


@torch.no_grad()
def _norm(learner: Learner) -> float:
    """Return the norm of the trained weights; of this process's part where they are sharded."""
    return float(torch.stack([local(weight).float().norm() for weight in learner.weights]).norm())


def _costs(
    learner: Learner, sequences: list[Sequence], metrics: dict[str, float], *, duration_s: float
) -> dict[str, float]:
    """Return what an update took, and what of it was useful; what sequences share was computed once."""
    accelerator = learner.accelerator
    inner = accelerator.unwrap_model(learner.tokens)
    assert isinstance(inner, SampledTokens)
    lengths = [len(sequence.ids) for sequence in sequences]
    num_tokens, num_read = metrics["num_tokens"], metrics["num_forward_tokens"]
    flops_per_s = update_flops(inner.policy, lengths, int(num_tokens)) * num_read / sum(lengths) / duration_s
    found = {
        "tokens_per_s": num_tokens / duration_s,
        "forward_tokens_per_s": num_read / duration_s,
        "flops_per_s": flops_per_s,
        "duration_s": round(duration_s, 3),
    }
    peak = peak_flops(accelerator.device)
    if peak is not None:
        found["mfu"] = flops_per_s / (peak * accelerator.num_processes)
    if accelerator.device.type == "cuda":
        found["memory_bytes"] = torch.cuda.max_memory_allocated(accelerator.device)
    return found
