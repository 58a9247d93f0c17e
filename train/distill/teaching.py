"""The teaching loop: passes over the chosen calls, the held-out loss after each, and the weights of the lowest kept."""

import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from foundation.errors import GateRefused, SpanloopError
from foundation.narration import get_logger
from train.data.lineage import Sequence
from train.distill.preparing import Lesson
from train.distill.settings import DistillConfig
from train.engine.learner import Learner, local
from train.engine.update import NotFinite, update
from train.gate.distance import are_finite, copy_weights

log = get_logger("distill")

WARM_UP = 0.05
"""Share of the first pass over which the learning rate grows to its full size."""

LEAST_GAIN = 1e-3
"""Nats a token by which a pass must lower the held-out loss to count as one that did."""


@dataclass(frozen=True)
class Taught:
    """How the teaching went; losses are nats a token of the held-out calls."""

    num_updates: int
    epochs: int
    best_epoch: int
    stopped: str
    loss_before: float
    loss_after: float
    last: dict[str, float]


def teach(
    learner: Learner,
    lesson: Lesson,
    config: DistillConfig,
    write: Callable[[dict[str, Any]], None],
    *,
    clock: Callable[[], float] = time.monotonic,
) -> Taught:
    """Teach until the held-out loss no longer falls, the passes are through, or the time is up.

    Refuses a student that the calls did not bring nearer to its teacher.
    """
    began = clock()
    learner.prepare()
    before = examine(learner, lesson.examined)
    if not math.isfinite(before):
        raise SpanloopError(
            "the student's held-out loss is no number before anything was taught: its weights are broken"
        )
    best, best_epoch, kept = before, 0, copy_weights(learner)
    num_updates, last, rate, since_best = 0, dict[str, float](), 1.0, 0
    peak = learner.optimizer.param_groups[0]["lr"]
    stopped = f"{config.epochs} passes (epochs)"
    epoch = 0
    for epoch in range(1, config.epochs + 1):
        deals = _deal(lesson.taught, config.calls_per_update, seed=f"{config.seed}/{epoch}")
        is_late = False
        for number, deal in enumerate(deals):
            grown = min(1.0, (number + 1) / max(1.0, WARM_UP * len(deals))) if epoch == 1 else 1.0
            learner.optimizer.param_groups[0]["lr"] = peak * rate * grown
            try:
                found = update(learner, deal, denominator=float(sum(each.num_trained for each in deal)))
            except NotFinite as error:
                log.warning("update undone", epoch=epoch, reason=str(error))
                continue
            if found is not None:
                num_updates, last = num_updates + 1, found
                write({"update": num_updates, "epoch": epoch, **found})
            if config.budget_s is not None and clock() - began > config.budget_s:
                is_late = True
                break
        loss = examine(learner, lesson.examined)
        log.info("pass", epoch=epoch, loss=round(last.get("loss", float("nan")), 4), heldout_loss=round(loss, 4))
        since_best = 0 if loss < best - LEAST_GAIN else since_best + 1
        if loss < best:
            best, best_epoch, kept = loss, epoch, copy_weights(learner)
        else:
            rate /= 2  # a smaller step may still find a lower loss
        if is_late:
            stopped = f"{config.budget_s:g} s are up (budget_s)"
            break
        if since_best >= config.patience or not math.isfinite(loss):
            stopped = f"the held-out loss fell no further in {since_best} passes (patience)"
            break
    _set_weights(learner, kept)
    if not best < before:
        raise GateRefused(
            f"the held-out loss did not fall: {before:.4f} nats a token before, nothing lower after {epoch} passes",
            hint="The held-out answers do not follow from what was taught: more calls, a smaller --learning-rate; or "
            "the student knows all there is to learn from them.",
        )
    if not are_finite(learner):
        raise SpanloopError("the student's weights are not finite: nothing is published")
    return Taught(num_updates, epoch, best_epoch, stopped, before, best, last)


@torch.no_grad()
def examine(learner: Learner, sequences: list[Sequence]) -> float:
    """Return the mean loss of the trained tokens of sequences, nats a token."""
    total = float(learner.score(sequences).double().sum())
    return -total / max(1, sum(each.num_trained for each in sequences))


def _deal(sequences: list[Sequence], calls_per_update: int, *, seed: str) -> list[list[Sequence]]:
    """Deal sequences in a random order to updates of about so many calls."""
    order = list(sequences)
    random.Random(seed).shuffle(order)  # noqa: S311 - an order, not a secret
    num_calls = sum(len(each.calls) for each in order)
    shares = np.array_split(np.arange(len(order)), max(1, min(len(order), round(num_calls / calls_per_update))))
    return [[order[index] for index in share] for share in shares]


@torch.no_grad()
def _set_weights(learner: Learner, kept: list[torch.Tensor]) -> None:
    for weight, value in zip(learner.weights, kept, strict=True):
        local(weight.data).copy_(value)
