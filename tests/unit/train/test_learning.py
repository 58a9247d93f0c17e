"""Learning: the short form of benchmarks/train/learning.py, and roles that are not trained."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from transformers import AutoTokenizer, PreTrainedModel

from benchmarks.train.learning import curve, interval
from tests.logged import bandit, publish, transition
from train.engine.learner import Learner
from train.engine.policy import SampledTokens, load_policy
from train.loop import learn
from train.plan import make_plan, read_limits
from train.schema import model_version, weights_digest
from train.settings import TrainConfig

NIGHTS = 10
EPISODES = 256
THRESHOLD = 0.2
"""Expected success after ten nights; 0.03 before them. `benchmarks.train.learning` runs longer, to a higher one."""


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2))
def test_a_tool_game_is_learned(seed: int) -> None:
    """A tiny transformer finds the tool of each task, uses it more than once, then answers."""
    found = curve("gae", seed=seed, nights=NIGHTS, episodes=EPISODES, settings={}).success

    assert found[0] < 0.1
    assert found[-1] > THRESHOLD


@pytest.mark.long
def test_a_coin_teaches_nothing() -> None:
    """Outcomes drawn at random leave the success where it was, give or take a drift."""
    found = curve("random", seed=0, nights=NIGHTS, episodes=EPISODES, settings={}).success

    assert found.max() < 0.1


def test_the_interval_of_differences_that_are_all_alike_is_narrow_and_holds_them() -> None:
    """And one of noise around 0 holds 0."""
    assert interval(np.full(10, 0.3)) == pytest.approx((0.3, 0.3))
    low, high = interval(np.random.default_rng(0).normal(size=10))
    assert low < 0 < high


def train(model: Path, data: Path, **settings: object) -> PreTrainedModel:
    """Run the loop over a published dataset and return the policy."""
    config = TrainConfig(data=data, model=model, kl_budget=9, **settings)
    vocabulary_size, max_length = read_limits(model)
    plan = make_plan(config, vocabulary_size=vocabulary_size, max_length=max_length)
    policy = load_policy(model)
    optimizer = torch.optim.AdamW(policy.parameters(), lr=config.learning_rate)
    learn(Learner(Accelerator(cpu=True), SampledTokens(policy), optimizer, plan, config), lambda _line: None)
    return policy


REWARDED = 40
"""Ids below this are the right answer."""


def chance_of_reward(policy: PreTrainedModel) -> float:
    """Return the probability of a rewarded answer to prompts nobody trained on."""
    prompts = torch.randint(0, 64, (200, 6), generator=torch.Generator().manual_seed(99))
    with torch.no_grad():
        logits = policy(input_ids=prompts).logits[:, -1]
    return float(logits.softmax(-1)[:, :REWARDED].sum(-1).mean())


@pytest.mark.long
@pytest.mark.parametrize("loss", ["awr", "dpo", "dro", "kto", "rft", "topr"])
def test_answers_without_log_probabilities_teach_too(model: Path, tmp_path: Path, loss: str) -> None:
    """Ids of the model in training alone, a sixth of them rewarded: rewarded answers become likelier on new prompts."""
    rows = bandit(model, num_tasks=64, attempts=16, rewarded=REWARDED)
    unlogged = {"evidence": "B", "behavior_logprobs": None, "policy_version": model_version(model)}
    data = publish(tmp_path, [row | unlogged for row in rows])

    policy = train(model, data, loss=loss, learning_rate=3e-3, epochs=4, negative=1)

    assert chance_of_reward(policy) > 1.2 * chance_of_reward(load_policy(model))


def test_text_of_our_own_and_of_another_model_teaches_what_went_well(model: Path, tmp_path: Path) -> None:
    """No token id on record: the right word becomes likelier through rendering, AWR and RFT, as `auto` sends them."""
    rows = [
        transition(
            episode_id=f"{number}",
            span_id=f"{number}",
            task_id=f"{number % 20}",
            observation=json.dumps([{"role": "user", "text": f"question {number % 20}"}]),
            action=json.dumps({"role": "assistant", "text": "yes" if number % 3 else "no"}),
            outcome=float(bool(number % 3)),
            evidence="CD"[number % 2],
            prompt_token_ids=None,
            response_token_ids=None,
            behavior_logprobs=None,
        )
        for number in range(120)
    ]
    data = publish(tmp_path, rows)

    policy = train(model, data, learning_rate=3e-3, epochs=6, episodes_per_update=16)

    tokenizer = AutoTokenizer.from_pretrained(model)
    asked = tokenizer("<|user|>question 99<|end|><|assistant|>", return_tensors="pt")["input_ids"]
    first = {word: tokenizer(word)["input_ids"][0] for word in ("yes", "no")}
    with torch.no_grad():
        before, after = (each(input_ids=asked).logits[0, -1].softmax(-1) for each in (load_policy(model), policy))
    assert after[first["yes"]] > 2 * before[first["yes"]]
    assert after[first["yes"]] > after[first["no"]]


def test_what_a_frozen_role_said_changes_no_weight(model: Path, tmp_path: Path) -> None:
    """Other answers, same rewards: the same weights bit for bit; and the model it is served from is not touched."""
    rows = bandit(model, num_tasks=24, attempts=4, rewarded=130)
    planners = [row | {"agent": "planner", "step": 0} for row in rows]
    workers = [row | {"agent": "worker", "step": 1, "start_ns": 10, "span_id": row["span_id"] + "w"} for row in rows]
    others = [row | {"response_token_ids": [7], "behavior_logprobs": [-3.0]} for row in workers]
    digest = weights_digest(model)

    settings = {"agents": "planner", "learning_rate": 1e-3, "epochs": 2}
    one = train(model, publish(tmp_path / "one", [*planners, *workers]), **settings)
    other = train(model, publish(tmp_path / "other", [*planners, *others]), **settings)

    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    before = load_policy(model).parameters()
    assert not all(torch.equal(a, b) for a, b in zip(one.parameters(), before, strict=True))
    assert weights_digest(model) == digest
