"""The training loop: a plan goes in, a changed model comes out, one line of metrics an update."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from foundation.errors import GateRefused
from foundation.narration import get_logger, track
from train.engine.learner import Learner, local
from train.engine.resume import Keeper, Progress
from train.engine.standout import LEAST_BATCHES, NUM_BATCHES, standout
from train.engine.update import NotFinite, update
from train.gate.budget import Pace
from train.gate.distance import Yardstick, are_finite, copy_weights, go_along, go_back, set_weights
from train.gate.heldout import heldout_loss
from train.metrics.measures import describe_rewards, describe_roles, describe_staleness, describe_values
from train.plan import Plan
from train.settings import TrainConfig

log = get_logger("train")

REFERENCE_WIDTH = 128
REFERENCE_RATE = 3e-4
"""Measured on the demo's policy; the exponent 1.5 then meets the 1e-6 to 2e-6 that trainers use for 7 B models."""

ADAPTER_FACTOR = 10
"""An adapter wants about ten times the learning rate of full training, whatever its rank (LoRA Without
Regret, 2025)."""

EPISODES_PER_UPDATE = 64
"""Of AdamW, where nothing else is asked for."""

FIRST_REACH = 0.01
"""What the search along a direction of `standout` begins with, on its scale."""

MOST_SETBACKS = 4
"""Checks in a row after which nothing could be kept, at a smaller step each time, that end a run."""

FRESH_BELOW = 0.25
"""Share of a way kept below which the optimiser's moments are of gradients from too far away."""


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


def keep_together(plan: Plan, episodes: list[list[int]], *, most: float) -> list[list[int]]:
    """Group what belongs into one update: the episodes, by their sequences, of every pair of DPO, and of a task.

    Each side of a pair answers for the pair while the other stands still, which is right only within one update.
    Attempts at one task share its prompt, and what they were compared with: `most` of them stay together, so that it is
    read once and batches are as independent of one another as tasks are.
    """
    place = {
        int(call): index
        for index, sequences in enumerate(episodes)
        for each in sequences
        for call in plan.sequences[each].calls
    }
    group = list(range(len(episodes)))

    def root(index: int) -> int:
        while group[index] != index:
            index = group[index]
        return index

    for call, index in place.items():
        partner = int(plan.route.partner[call])
        if partner in place:
            group[root(index)] = root(place[partner])
    units: dict[int, list[int]] = {}
    for index in range(len(episodes)):
        units.setdefault(root(index), []).append(index)
    tasks: dict[str, list[list[int]]] = {}
    for unit in units.values():
        task = plan.logged.episodes[plan.episode_of(plan.sequences[episodes[unit[0]][0]])].task
        attempts = tasks.setdefault(task, [[]])
        if attempts[-1] and len(attempts[-1]) + len(unit) > most:
            attempts.append([])
        attempts[-1] += unit
    return [attempts for task in tasks.values() for attempts in task]


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

    num_undone: int = 0
    """Updates that were undone because they were not finite."""

    heldout_losses: tuple[float, ...] = ()
    """At tasks kept out of training, before the first pass and after each; nothing where none were."""


def learn(learner: Learner, write: Callable[[dict[str, Any]], None], keeper: Keeper | None = None) -> Trained:
    """Make the updates, give `write` the metrics of each, and say how it ended.

    Now and then the distance to where the run began is measured on a fixed sample of the night's calls, those without
    an advantage among them. What led further than the pace of the KL budget allows is gone back from, and the step
    becomes smaller; what comes out is always within the budget, and finite. An update in which no call has an
    advantage is passed over. Where tasks are kept out, the first pass after which they go worse is taken back, and ends
    the run.

    With a keeper the run goes on from what was kept, if anything was; `write` is given the earlier lines again first.
    """
    config, plan = learner.config, learner.plan
    learner.prepare()  # before anything kept is loaded: the reference is the model the run began with
    yardstick = Yardstick.of(learner)
    mismatch = yardstick.mismatch(learner)
    _refuse_mismatch(mismatch, config)
    episodes = plan.episode_sequences()
    tokens_per_episode = sum(sequence.num_trained for sequence in plan.sequences) / max(1, len(episodes))
    moves_by_pass = standout(learner.optimizer)
    per_update: float = config.episodes_per_update or EPISODES_PER_UPDATE
    if moves_by_pass:
        per_update = max(1.0, len(episodes) / NUM_BATCHES)
    elif config.tokens_per_update is not None:
        per_update = max(1, round(config.tokens_per_update / tokens_per_episode))
    # Many small updates of AdamW learn more from episodes of as many tasks as there are.
    together = len(episodes) / LEAST_BATCHES if moves_by_pass else 1
    units = keep_together(plan, episodes, most=together)
    units_per_update = max(1, round(per_update * len(units) / max(1, len(episodes))))
    per_epoch = len(deal_episodes(len(units), units_per_update, seed=""))
    walk = _Walk(
        learner,
        yardstick,
        Pace(yardstick.budget, per_epoch * config.epochs, may_hasten=config.learning_rate is None),
        per_epoch,
        learner.optimizer.param_groups[0]["lr"],
        write,
    )
    kept = None if keeper is None else keeper.load(learner)
    if kept is not None:
        progress, walk.start, walk.best = kept
    else:
        progress, walk.start = Progress(), copy_weights(learner)
        if plan.heldout_calls:
            walk.best, progress.heldout_losses = walk.start, [heldout_loss(learner)]
    for line in progress.lines:
        write(line)
    stopped = None
    for epoch in track(range(progress.epoch, config.epochs), total=config.epochs, label="train"):
        deals = deal_episodes(len(units), units_per_update, seed=f"{config.seed}/{epoch}")
        if config.token_critic and not progress.position:
            learner.objective.set_values(learner.score_values())
        for chosen in deals[progress.position :]:
            # A constant of the night, times the episodes of this update: an episode weighs the same in whatever company
            # it is, and every token weighs the same (the Dr. GRPO argument, arXiv:2503.20783 §3.1).
            teaching = [episodes[index] for unit in chosen for index in units[unit]]
            walk.step(progress, teaching, denominator=tokens_per_episode * len(teaching))
            progress.position += 1
            done = progress.epoch * per_epoch + progress.position
            if walk.is_due(progress, done):
                stopped = walk.move(progress, done) if moves_by_pass else walk.check(progress, done)
            if stopped is not None:
                break
            if keeper is not None and progress.position < len(deals):
                keeper.keep_if_due(learner, progress, walk.start, walk.best)
        if walk.best is not None:
            stopped = walk.compare(progress) or stopped
        if stopped is not None:
            break
        progress.epoch, progress.position = epoch + 1, 0
        if keeper is not None:
            keeper.keep_if_due(learner, progress, walk.start, walk.best)
    walk.set_rate(1.0)
    last = progress.lines[-1] if progress.lines else {}
    return Trained(
        len(progress.lines),
        stopped,
        mismatch,
        {name: value for name, value in last.items() if name not in ("update", "epoch")},
        progress.num_undone,
        tuple(progress.heldout_losses),
    )


@dataclass
class _Walk:
    """The updates of a run between the checks of how far they led."""

    learner: Learner
    yardstick: Yardstick
    pace: Pace
    per_epoch: int
    learning_rate: float
    write: Callable[[dict[str, Any]], None]
    start: list[torch.Tensor] | None = None
    """The weights of the last check."""

    best: list[torch.Tensor] | None = None
    """Those of the last pass, where its worth is told by tasks kept out of training."""

    def step(self, progress: Progress, episodes: list[list[int]], *, denominator: float) -> None:
        """Make one update with the sequences of episodes; one that is not finite is undone and named."""
        plan = self.learner.plan
        sequences = [plan.sequences[index] for indices in episodes for index in indices]
        self.set_rate(progress.rate * self.warmth(progress))
        try:
            metrics = update(self.learner, sequences, denominator=denominator)
        except NotFinite as error:
            progress.num_undone += 1
            number = progress.num_updates + len(progress.pending) + 1
            log.warning("update undone", update=number, epoch=progress.epoch, reason=str(error))
            return
        if metrics is not None:
            numbers = [plan.episode_of(plan.sequences[indices[0]]) for indices in episodes]
            progress.pending.append({"epoch": progress.epoch, **metrics, **_describe_episodes(plan, numbers)})

    def warmth(self, progress: Progress) -> float:
        """Return the part of the learning rate the next update has while the run warms up, else 1."""
        done = progress.num_updates + len(progress.pending)
        return min(1.0, (done + 1) / (self.learner.config.warmup_updates + 1))

    def is_due(self, progress: Progress, done: int) -> bool:
        """Tell whether the distance is to be measured now."""
        if standout(self.learner.optimizer):
            return bool(progress.pending) and done % self.per_epoch == 0
        if self.best is not None and done % self.per_epoch == 0:
            return bool(progress.pending)  # a pass ends in weights that stand
        return bool(progress.pending) and self.pace.is_due(progress.num_updates, len(progress.pending), done)

    def check(self, progress: Progress, done: int) -> str | None:
        """Measure how far the updates since the last check led, go back where it was too far, and write their lines.

        Returns why the run ends, if it does.
        """
        learner, before = self.learner, progress.distance
        assert self.start is not None
        found = self.yardstick.measure(learner) if are_finite(learner) else float("nan")
        kept: dict[str, float] = {}
        if not found <= self.pace.tolerated(done):
            share, distance = go_back(
                learner,
                self.start,
                lambda: self.yardstick.measure(learner),
                began=before,
                found=found,
                allowed=self.pace.tolerated(done),
            )
            progress.rate *= self.pace.slow_down(share)
            if share < FRESH_BELOW:
                _forget_moments(learner)
            if not share:
                return self._set_back(progress, found)
            kept, found = {"kept_share": share}, distance
        else:
            factor = self.pace.correct(found, done, rate=progress.rate)
            progress.rate *= factor if self.warmth(progress) == 1 else min(factor, 1.0)
        self._keep(progress, found, kept)
        return None

    def move(self, progress: Progress, done: int) -> str | None:
        """Move along what stood out of the gradients of a pass, and write its lines.

        That is as far as its part of the budget, or less far where little more stands out than would by chance.

        Returns why the run ends, if it does.
        """
        learner, optimizer = self.learner, standout(self.learner.optimizer)
        assert self.start is not None
        assert optimizer is not None
        if progress.evidence is None:  # later passes see the episodes again, chance and all, and would be surer of it
            progress.evidence = optimizer.evidence(learner.weights)
        directions = optimizer.directions(learner.weights)
        if not progress.evidence or not any(_is_some(each, learner) for each in directions):
            progress.pending = []
            optimizer.begin_anew()
            return "nothing stands out: the gradients of the night's batches have nothing in common"
        reach, found = go_along(
            learner,
            self.start,
            directions,
            lambda: self.yardstick.measure(learner),
            began=progress.distance,
            reach=FIRST_REACH * progress.rate,
            allowed=progress.evidence**2 * self.pace.allowed(done),  # a distance grows with the square of a step
        )
        optimizer.begin_anew()
        if not reach:
            return self._set_back(progress, found)
        progress.rate = reach / FIRST_REACH
        self._keep(progress, found, {"learning_rate": reach})
        return None

    def compare(self, progress: Progress) -> str | None:
        """Measure at the tasks kept out what a pass has led to; take it back where they go worse, and say so."""
        assert self.best is not None
        before, after = progress.heldout_losses[-1], heldout_loss(self.learner)
        progress.heldout_losses.append(after)
        log.info("tasks kept out of training", epoch=progress.epoch, loss=round(after, 4), before=round(before, 4))
        if after <= before:
            self.best = self.start
            return None
        set_weights(self.learner, self.best)
        progress.lines = [line for line in progress.lines if line["epoch"] < progress.epoch]
        return (
            f"the loss at tasks kept out of training rose from {before:.4f} to {after:.4f} in pass {progress.epoch + 1}"
        )

    def _keep(self, progress: Progress, distance: float, facts: dict[str, float]) -> None:
        """Let what was done since the last check stand."""
        progress.distance, progress.num_setbacks = distance, 0
        for line in progress.pending:
            progress.num_updates += 1
            progress.lines.append({"update": progress.num_updates, **line, "kl_call": distance, **facts})
            self.write(progress.lines[-1])
        progress.pending = []
        self.start = copy_weights(self.learner)

    def _set_back(self, progress: Progress, found: float) -> str | None:
        progress.num_setbacks += 1
        progress.pending = []
        if progress.distance >= 0.9 * self.yardstick.budget:
            return f"KL budget: {progress.distance:.3f} of {self.yardstick.budget:.3f} nats a call are used up"
        if progress.num_setbacks < MOST_SETBACKS:
            return None
        return f"no step is small enough: {found:.3g} nats a call, {self.yardstick.budget:.3f} at most"

    def set_rate(self, rate: float) -> None:
        """Set the policy's learning rate to a multiple of the one the run began with; `standout` has none."""
        self.learner.optimizer.param_groups[0]["lr"] = self.learning_rate * rate


def _is_some(direction: torch.Tensor, learner: Learner) -> bool:
    """Tell whether a direction leads anywhere, on any process."""
    return bool(float(learner.accelerator.reduce(local(direction).abs().sum(), "sum")))


def _forget_moments(learner: Learner) -> None:
    """Let the optimiser begin anew."""
    for state in learner.optimizer.state.values():
        for moment in state.values():
            moment.zero_()


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


def _refuse_mismatch(mismatch: float, config: TrainConfig) -> None:
    if not mismatch <= config.max_mismatch:
        raise GateRefused(
            f"{config.model} did not sample these calls: its log-probabilities differ from the recorded ones by "
            f"{mismatch:.3f} nats a token, {config.max_mismatch} at most (max_mismatch)",
            hint="Train the model that was serving; if it is that one, tokenizer, precision or sampling parameters "
            "differ between engine and trainer.",
        )
