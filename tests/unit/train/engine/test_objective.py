"""The objective: every call its own loss, whatever company it is in, and the streams that were not on record."""

from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from etl.schema import Evidence
from tests.unit.train.calls import call
from train.data.lineage import build_sequences
from train.data.logged import Call, Episode, Logged
from train.engine.learner import Learner
from train.engine.objective import awr_temperature
from train.engine.policy import SampledTokens, load_policy
from train.engine.update import accumulate
from train.losses.registry import LOSSES
from train.losses.routing import route_calls
from train.plan import Plan
from train.settings import TrainConfig

UNKNOWN = [float("nan")] * 2
MIXED = [
    call([1, 2, 3], [4, 5], behavior_logprobs=[-4.0, -6.0]),
    call([1, 2, 3, 4, 5, 6], [7, 8], turn=1, behavior_logprobs=UNKNOWN, evidence=Evidence.RESCORED),
    call([20, 21], [22, 23], episode=1, behavior_logprobs=UNKNOWN, evidence=Evidence.IDS),
    call([30] * 9, [31, 32], episode=2, behavior_logprobs=UNKNOWN, evidence=Evidence.TEXT),
    call([40] * 5, [41, 42], episode=3, behavior_logprobs=UNKNOWN, evidence=Evidence.FOREIGN),
    call([50] * 5, [51, 52], episode=4, behavior_logprobs=UNKNOWN, evidence=Evidence.CUT),
]
PAIRS = [
    call([1, 2, 3], [4, 5, 6], behavior_logprobs=[-4.0, -6.0, -5.0]),
    call([1, 2, 3], [7], episode=1, behavior_logprobs=[-5.0]),
    call([9, 8, 7], [6, 5], episode=2, behavior_logprobs=[-5.0, -5.0]),
    call([9, 8, 7], [4, 3], episode=3, behavior_logprobs=[-5.0, -6.0]),
]
SIGNS = np.array([1.0, -1.0, -0.5, 0.5])


def learner(model: Path, calls: list[Call], advantages: np.ndarray, **settings: object) -> Learner:
    """Return a prepared learner in float64 whose model is not the one the recorded log-probabilities are of."""
    policy = load_policy(model, dtype=torch.float64)
    config = TrainConfig(model=model, **settings)
    logged = Logged([Episode(str(index), "task", 1.0) for index in range(6)], calls)
    route, taken = route_calls(logged, advantages, loss=config.loss, negative=1.0)
    plan = Plan(logged, build_sequences(calls), taken, route, facts={})
    found = Learner(
        Accelerator(cpu=True), SampledTokens(policy), torch.optim.SGD(policy.parameters(), lr=1e-2), plan, config
    )
    found.prepare()
    return found


def step(it: Learner) -> None:
    """Move the weights a little, so that the policy is not the reference any more."""
    gradient(it)
    it.optimizer.step()
    it.optimizer.zero_grad()


def gradient(it: Learner) -> tuple[float, torch.Tensor]:
    """Return loss and flat gradient of one update over the whole plan."""
    opponents = it.objective.opponents(it.plan.sequences)
    if opponents:
        it.objective.set_opponents(opponents, it.score(opponents))
    metrics = accumulate(it, it.plan.sequences, denominator=9.0)
    return metrics["loss"], torch.cat([weight.grad.flatten() for weight in it.weights])


@pytest.mark.parametrize("loss", sorted(set(LOSSES) - {"ppo", "cispo"}))
def test_micro_batches_change_neither_loss_nor_gradient(model: Path, loss: str) -> None:
    """Also where a loss is defined on calls or on pairs of them, and after the policy has moved."""
    results = []
    for budget in (1, 12, 8192):
        it = learner(model, PAIRS, SIGNS, loss=loss, reference_kl=0.1, tokens_per_batch=budget)
        step(it)
        results.append(gradient(it))

    for value, flat in results[1:]:
        assert value == pytest.approx(results[0][0], abs=1e-6)
        assert torch.allclose(flat, results[0][1], atol=1e-6)
    assert results[0][1].abs().max() > 1e-4


def test_a_mixed_log_has_the_gradient_of_its_parts(model: Path) -> None:
    """`auto` over calls of every kind is the sum of every call under its own loss."""
    advantages = np.array([1.0, -0.5, -0.7, 0.4, 0.8, 0.6])
    beta = awr_temperature(advantages[3:4])

    _, together = gradient(learner(model, MIXED, advantages))

    apart = torch.zeros_like(together)
    for index, loss in enumerate(["cispo", "cispo", "dro", "awr", "rft", "topr"]):
        only = np.where(np.arange(6) == index, advantages, 0.0)
        it = learner(model, MIXED, only, loss=loss, beta=beta if loss == "awr" else None)
        it.objective._weight[torch.arange(6) != index] = 0
        apart += gradient(it)[1]
    assert torch.allclose(together, apart, atol=1e-6)


def test_what_was_not_recorded_is_what_the_model_said_when_the_run_began(model: Path) -> None:
    """The ratio of a rescored call is 1 at first, and moves with the policy from there."""
    it = learner(model, [MIXED[1]], np.array([1.0]), loss="ppo")
    batch, _ = next(it.share(it.plan.sequences))

    before = it.sample(batch)[0].log_ratio()
    step(it)
    after = it.sample(batch)[0].log_ratio()

    assert before.abs().max() < 1e-6
    assert after.abs().max() > 1e-4


@pytest.mark.parametrize(
    ("number", "settings", "is_needed"),
    [
        (1, {"loss": "ppo"}, True),  # rescored, and by a ratio
        (3, {}, False),  # text and what another model said, imitated
        (4, {}, False),
        (4, {"behavior_kl": 0.1}, True),
    ],
)
def test_what_is_imitated_is_not_read_an_extra_time(
    model: Path, number: int, settings: dict[str, object], is_needed: bool
) -> None:
    """Nobody asks how likely it was before: on a small machine that was a quarter of the run."""
    it = learner(model, [MIXED[number]], np.array([1.0]), **settings)

    assert it.objective.needs_reference is is_needed
    assert gradient(it)[1].any()


def test_foreign_failures_move_nothing(model: Path) -> None:
    """Not even through the optimiser's step."""
    it = learner(model, [MIXED[4]], np.array([-1.0]))

    assert not it.objective.teaches(it.plan.sequences[0])
    assert not gradient(it)[1].any()


def test_a_loss_per_call_weighs_a_long_call_like_a_short_one(model: Path) -> None:
    """GRPO's mean over a call's tokens against Dr. GRPO's sum: three tokens and one, four in all and two on average."""
    it = learner(model, PAIRS[:2], np.array([1.0, 1.0]), loss="grpo")
    assert it.objective._weight.tolist() == pytest.approx([2 / 3, 2])

    it = learner(model, PAIRS[:2], np.array([1.0, 1.0]), loss="dr_grpo")
    assert it.objective._weight.tolist() == [1, 1]


def test_the_temperature_of_awr_leaves_half_of_the_calls_effective() -> None:
    """Solved for, then checked by the definition of the effective share."""
    advantages = np.random.default_rng(0).normal(size=1000)

    weight = np.exp(advantages / awr_temperature(advantages))

    assert weight.sum() ** 2 / (weight**2).sum() / 1000 == pytest.approx(0.5, abs=1e-6)
    assert awr_temperature(np.ones(3)) == 1.0
