"""Learning: the short form of benchmarks/train_learning.py, and roles that are not trained."""

from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from benchmarks.train_learning import curve, interval
from tests.logged import bandit, publish
from train.learner import Learner
from train.loop import learn
from train.plan import make_plan, read_limits
from train.policy import SampledTokens, load_policy
from train.schema import weights_digest
from train.settings import TrainConfig

NIGHTS = 10
EPISODES = 256
THRESHOLD = 0.2
"""Expected success after ten nights; 0.03 before them. `benchmarks.train_learning` runs longer, to a higher one."""


@pytest.mark.parametrize("seed", range(2))
def test_a_tool_game_is_learned(seed: int) -> None:
    """A tiny transformer finds the tool of each task, uses it more than once, then answers."""
    found = curve("gae", seed=seed, nights=NIGHTS, episodes=EPISODES, settings={}).success

    assert found[0] < 0.1
    assert found[-1] > THRESHOLD


def test_a_coin_teaches_nothing() -> None:
    """Outcomes drawn at random leave the success where it was, give or take a drift."""
    found = curve("random", seed=0, nights=NIGHTS, episodes=EPISODES, settings={}).success

    assert found.max() < 0.1


def test_the_interval_of_differences_that_are_all_alike_is_narrow_and_holds_them() -> None:
    """And one of noise around 0 holds 0."""
    assert interval(np.full(10, 0.3)) == pytest.approx((0.3, 0.3))
    low, high = interval(np.random.default_rng(0).normal(size=10))
    assert low < 0 < high


def train(model: Path, data: Path) -> list[torch.Tensor]:
    """Train the planner alone and return the weights."""
    config = TrainConfig(data=data, model=model, agents="planner", learning_rate=1e-3, epochs=2, kl_budget=9)
    vocabulary_size, max_length = read_limits(model)
    plan = make_plan(config, vocabulary_size=vocabulary_size, max_length=max_length)
    policy = load_policy(model)
    optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-3)
    learn(Learner(Accelerator(cpu=True), SampledTokens(policy), optimizer, plan, config), lambda _line: None)
    return [weight.detach().clone() for weight in policy.parameters()]


def test_what_a_frozen_role_said_changes_no_weight(model: Path, tmp_path: Path) -> None:
    """Other answers, same rewards: the same weights bit for bit; and the model it is served from is not touched."""
    rows = bandit(model, num_tasks=24, attempts=4, rewarded=130)
    planners = [row | {"agent": "planner", "step": 0} for row in rows]
    workers = [row | {"agent": "worker", "step": 1, "start_ns": 10, "span_id": row["span_id"] + "w"} for row in rows]
    others = [row | {"response_token_ids": [7], "behavior_logprobs": [-3.0]} for row in workers]
    digest = weights_digest(model)

    before = list(load_policy(model).parameters())
    one = train(model, publish(tmp_path / "one", [*planners, *workers]))
    other = train(model, publish(tmp_path / "other", [*planners, *others]))

    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(one, before, strict=True))
    assert weights_digest(model) == digest
