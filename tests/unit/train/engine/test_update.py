"""One optimiser step: what it changes, what it leaves, and what it says of itself."""

from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from tests.unit.train.calls import call
from train.data.lineage import build_sequences
from train.data.logged import Episode, Logged
from train.engine.learner import Learner
from train.engine.policy import SampledTokens, load_policy
from train.engine.update import NotFinite, update
from train.losses.routing import route_calls
from train.plan import Plan
from train.settings import TrainConfig

CALLS = [
    call([1, 2, 3], [4, 5], behavior_logprobs=[-5.0, -5.0]),
    call([20, 21], [22], episode=1, behavior_logprobs=[-5.0]),
    call([30] * 9, [31, 32], episode=2, behavior_logprobs=[-5.0, -5.0]),
]


def learner(model: Path, advantages: list[float], *, rate: float = 0.1, **settings: object) -> Learner:
    """Return a learner over `CALLS` whose steps are the gradient times a rate."""
    policy = load_policy(model)
    config = TrainConfig(model=model, loss="ppo", **settings)
    logged = Logged([Episode(str(index), "task", 1.0) for index in range(3)], CALLS)
    route, taken = route_calls(logged, np.array(advantages), loss=config.loss, negative=1.0)
    plan = Plan(logged, build_sequences(CALLS), taken, route, facts={})
    optimizer = torch.optim.SGD(policy.parameters(), lr=rate, momentum=0.9)
    return Learner(Accelerator(cpu=True), SampledTokens(policy), optimizer, plan, config)


def weights(it: Learner) -> torch.Tensor:
    return torch.cat([weight.detach().flatten().clone() for weight in it.weights])


def test_where_no_call_teaches_no_step_is_made(model: Path) -> None:
    """Nor does momentum carry the weights on."""
    it = learner(model, [1.0, -1.0, 1.0])
    assert update(it, it.plan.sequences, denominator=5.0)
    before = weights(it)

    assert update(it, [], denominator=5.0) is None
    assert torch.equal(weights(it), before)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_a_step_that_is_not_finite_changes_nothing_and_leaves_nothing(model: Path, wrong: float) -> None:
    """Weights, momentum and gradients: the next step is the one it would have been."""
    it, other = learner(model, [wrong, -1.0, 1.0]), learner(model, [0.5, -1.0, 1.0])
    before = weights(it)
    rest = [sequence for sequence in it.plan.sequences if 0 not in sequence.calls]

    with pytest.raises(NotFinite, match="not finite"):
        update(it, it.plan.sequences, denominator=5.0)
    assert torch.equal(weights(it), before)
    assert not it.optimizer.state

    for each in (it, other):
        assert update(each, rest, denominator=3.0)
    assert torch.equal(weights(it), weights(other))


def test_a_gradient_is_bounded_and_said_as_it_was(model: Path) -> None:
    """A step is no longer than the bound; the norm that is reported is that from before."""
    free, bound = (learner(model, [1.0, -1.0, 1.0], rate=1.0, max_grad_norm=most) for most in (1e9, 1e-3))
    before = weights(bound)

    metrics = [update(each, each.plan.sequences, denominator=5.0) for each in (free, bound)]

    assert metrics[0] is not None
    assert metrics[1] is not None
    assert metrics[1]["grad_norm"] == pytest.approx(metrics[0]["grad_norm"])
    assert float((weights(free) - before).norm()) == pytest.approx(metrics[0]["grad_norm"], rel=1e-3)
    assert float((weights(bound) - before).norm()) == pytest.approx(1e-3, rel=1e-2)


def test_an_update_says_what_it_read_and_trained(model: Path) -> None:
    """Tokens of answers apart from all that passed through the model, however many passes it took."""
    it = learner(model, [1.0, -1.0, 1.0], tokens_per_batch=1)

    metrics = update(it, it.plan.sequences, denominator=5.0)

    assert metrics is not None
    assert {name: metrics[name] for name in ("num_tokens", "num_calls", "num_batches", "longest")} == {
        "num_tokens": 5,
        "num_calls": 3,
        "num_batches": 3,
        "longest": 11,
    }
    assert metrics["num_forward_tokens"] >= 5 + 3 + 11
    assert metrics["learning_rate"] == 0.1
    assert metrics["weight_norm"] == pytest.approx(float(weights(it).norm()), rel=1e-4)
    assert metrics["forward_tokens_per_s"] > metrics["tokens_per_s"] > 0
    assert metrics["flops_per_s"] > 0
