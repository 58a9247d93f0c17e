"""What an update computes with: scores by place, shares of processes, and the reference of the run's beginning."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from etl.schema import SetAside
from tests.unit.train.calls import call
from tests.unit.train.shares import OneOf
from train.data.lineage import build_sequences
from train.data.logged import Call, Episode, Logged
from train.engine.learner import Learner
from train.engine.policy import SampledTokens, load_policy
from train.losses.routing import route_calls
from train.plan import Plan
from train.settings import TrainConfig

CALLS = [
    call([1, 2, 3], [4, 5], temperature=0.7),
    call([1, 2, 3, 4, 5, 6], [7, 8, 9], turn=1, temperature=1.3),  # goes on from the first
    call([20, 21], [22], episode=1, set_aside=SetAside.OTHER_AGENT),
    call([30] * 9, [31, 32], episode=2),
    call([40, 41], [42], episode=3),
]


def learner(model: Path, **settings: object) -> Learner:
    """Return a learner in float64 over `CALLS`, whose rewards differ."""
    policy = load_policy(model, dtype=torch.float64)
    config = TrainConfig(model=model, **settings)
    logged = Logged([Episode(str(index), "task", 1.0) for index in range(4)], CALLS)
    route, taken = route_calls(logged, np.array([1.0, -0.5, 0.0, 2.0, -1.0]), loss=config.loss, negative=1.0)
    plan = Plan(logged, build_sequences(CALLS), taken, route, facts={})
    optimizer = torch.optim.SGD(policy.parameters(), lr=1e-2)
    return Learner(Accelerator(cpu=True), SampledTokens(policy), optimizer, plan, config)


@torch.no_grad()
def plainly(it: Learner, one: Call) -> list[float]:
    """Return the log-probabilities of a call's answer, from a forward pass of its own and logits of every position."""
    ids = torch.from_numpy(np.concatenate([one.prompt_ids, one.response_ids]))
    logits = it.tokens.policy(input_ids=ids[None]).logits[0].double() / one.temperature
    first = len(one.prompt_ids)
    return [float(logits[place - 1].log_softmax(-1)[ids[place]]) for place in range(first, len(ids))]


@pytest.mark.parametrize("budget", [1, 12, 8192])
def test_scores_are_the_models_own_by_place(model: Path, budget: int) -> None:
    """In the order of the calls, at each call's temperature; a call that is set aside has no place."""
    it = learner(model, tokens_per_batch=budget)

    found = it.score(it.plan.sequences)

    expected = [logprob for one in CALLS if one.set_aside is None for logprob in plainly(it, one)]
    assert found.tolist() == pytest.approx(expected, abs=1e-5)
    assert not found.requires_grad


def test_what_is_not_asked_for_is_not_scored(model: Path) -> None:
    """One sequence of three: its places are filled, the others 0; of none, all are."""
    it = learner(model)
    (chosen,) = (sequence for sequence in it.plan.sequences if 3 in sequence.calls)

    found = it.score([chosen]).tolist()

    assert found[:5] == [0] * 5
    assert found[5:7] == pytest.approx(plainly(it, CALLS[3]), abs=1e-5)
    assert found[7:] == [0]
    assert it.score([]).tolist() == [0] * 8


def ranks(it: Learner, world: int) -> Iterator[Learner]:
    """Yield the learner as each of several processes has it."""
    for rank in range(world):
        yield replace(it, accelerator=OneOf(rank, world))


@pytest.mark.parametrize("world", [2, 3, 5])
def test_processes_score_every_token_once(model: Path, world: int) -> None:
    """Three sequences, a pass each, among two, three and five: the last ones run along and count nothing."""
    it = learner(model, tokens_per_batch=1)
    whole = it.score(it.plan.sequences)

    parts = [each.score(it.plan.sequences) for each in ranks(it, world)]
    passes = {len(list(each.share(it.plan.sequences))) for each in ranks(it, world)}

    assert torch.equal(sum(parts), whole)
    assert passes == {-(-3 // world)}  # equally many everywhere, or they would wait for one another for ever


def test_without_need_nothing_is_prepared(model: Path) -> None:
    """Recorded calls under a loss with a ratio of its own: no forward pass is spent on a reference."""
    it = learner(model, loss="ppo")
    it.tokens.forward = None  # whoever calls it fails

    it.prepare()

    batch, _ = next(it.share(it.plan.sequences))
    logprobs = torch.zeros(len(batch.calls), dtype=torch.float64)
    assert it.objective.sampled(logprobs, batch).reference_logprobs is None


@pytest.mark.parametrize(
    "settings", [{"loss": "dro"}, {"loss": "ppo", "reference_kl": 0.1}, {"loss": "ppo", "correction": "token_mask"}]
)
def test_the_reference_is_the_model_the_run_began_with(model: Path, settings: dict[str, object]) -> None:
    """And stays it, whatever becomes of the weights."""
    it = learner(model, **settings)
    it.prepare()
    began = it.score(it.plan.sequences)

    with torch.no_grad():
        for weight in it.weights:
            weight.add_(0.01)
    batch, _ = next(it.share(it.plan.sequences))
    sampled, _ = it.sample(batch)

    assert torch.equal(sampled.reference_logprobs.float(), began[it.objective.positions(batch.calls)])
    assert (sampled.policy_logprobs - sampled.reference_logprobs).abs().max() > 1e-3
