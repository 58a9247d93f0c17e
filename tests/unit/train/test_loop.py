"""The loop: a gradient no batching can change, a ratio of 1 at home, and a policy that learns what is rewarded."""

from collections.abc import Sequence as Many
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from etl.schema import Evidence
from foundation.errors import GateRefused
from tests.logged import bandit, publish
from tests.unit.train.calls import call
from train.data.lineage import Sequence, build_sequences
from train.data.logged import Call, Episode, Logged
from train.engine.learner import Learner
from train.engine.policy import SampledTokens, load_policy
from train.engine.update import accumulate
from train.equipment import chosen_optimizer, make_learner
from train.gate.distance import MOST_OF_ENTROPY, are_finite
from train.loop import deal_episodes, keep_together, learn
from train.losses.routing import route_calls
from train.plan import Plan, make_plan, read_limits
from train.settings import TrainConfig

CONVERSATION = [
    call([1, 2, 3], [4, 5], behavior_logprobs=[-4.0, -6.0], temperature=0.7),
    call([1, 2, 3, 4, 5, 6], [7], turn=1, behavior_logprobs=[-5.0]),
    call([1, 2, 3, 4, 5, 6, 7, 8, 9], [10, 11, 12], turn=2, behavior_logprobs=[-5.0, -5.5, -4.5], temperature=1.4),
    call([20, 21], [22], episode=1, behavior_logprobs=[-5.0]),
    call([30] * 9, [31, 32], episode=2, behavior_logprobs=[-6.0, -3.0]),
]
TOLERANCE = 1e-6
"""The model runs in float64, but for its normalisation layers, which transformers computes in float32."""

ADVANTAGES = np.array([1.0, -0.5, 2.0, -1.0, 0.25])


def learner(
    model: Path, calls: Many[Call], advantages: np.ndarray, *, dtype: torch.dtype = torch.float64, **settings: object
) -> Learner:
    """Return a learner over calls whose advantages are given."""
    policy = load_policy(model, dtype=dtype)
    config = TrainConfig(model=model, **settings)
    episodes = [Episode(str(index), "task", 1.0) for index in range(1 + max(each.episode for each in calls))]
    logged = Logged(episodes, list(calls))
    route, _ = route_calls(logged, advantages, loss=config.loss, negative=1.0)
    plan = Plan(logged, build_sequences(calls), advantages, route, facts={})
    optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-3)
    return Learner(Accelerator(cpu=True), SampledTokens(policy), optimizer, plan, config)


def gradient(which: Learner, sequences: list[Sequence] | None = None) -> tuple[float, torch.Tensor]:
    """Return loss and flat gradient of one update over the sequences."""
    metrics = accumulate(which, sequences or which.plan.sequences, denominator=9.0)
    return metrics["loss"], torch.cat([weight.grad.flatten() for weight in which.tokens.parameters()])


@pytest.mark.parametrize("loss", ["ppo", "cispo"])
def test_micro_batches_change_neither_loss_nor_gradient(model: Path, loss: str) -> None:
    """One sequence at a time, or all of them in one row."""
    results = [
        gradient(learner(model, CONVERSATION, ADVANTAGES, loss=loss, behavior_kl=0.1, tokens_per_batch=budget))
        for budget in (1, 20, 8192)
    ]

    for value, flat in results[1:]:
        assert value == pytest.approx(results[0][0], abs=TOLERANCE)
        assert torch.allclose(flat, results[0][1], atol=TOLERANCE)


def test_the_order_of_sequences_changes_neither_loss_nor_gradient(model: Path) -> None:
    """Reversed, with another company in every micro-batch."""
    forward = learner(model, CONVERSATION, ADVANTAGES, tokens_per_batch=24)
    backward = learner(model, CONVERSATION, ADVANTAGES, tokens_per_batch=24)

    one, other = gradient(forward), gradient(backward, backward.plan.sequences[::-1])

    assert one[0] == pytest.approx(other[0], abs=TOLERANCE)
    assert torch.allclose(one[1], other[1], atol=TOLERANCE)


def test_a_merged_conversation_has_the_gradient_of_its_separate_calls(model: Path) -> None:
    """Three calls in one sequence, or each with its whole prompt in a forward pass of its own."""
    merged = learner(model, CONVERSATION, ADVANTAGES)
    apart = learner(model, CONVERSATION, ADVANTAGES)
    alone = [
        Sequence(only.ids, np.where(only.call == 0, index, only.call), only.behavior_logprobs, only.start)
        for index, each in enumerate(CONVERSATION)
        for only in build_sequences([each])
    ]

    one, other = gradient(merged), gradient(apart, alone)

    assert len(merged.plan.sequences) == 3
    assert len(alone) == 5
    assert one[0] == pytest.approx(other[0], abs=TOLERANCE)
    assert torch.allclose(one[1], other[1], atol=TOLERANCE)


def test_tokens_of_the_context_have_no_gradient_of_their_own(model: Path) -> None:
    """With every advantage 0 nothing moves, however wrong the model finds the prompts."""
    loss, flat = gradient(learner(model, CONVERSATION, np.zeros(5)))

    assert loss == 0
    assert not flat.any()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.5])
def test_the_ratio_of_an_unchanged_policy_is_one_at_any_temperature(
    model: Path, tmp_path: Path, temperature: float
) -> None:
    """Recorded and own log-probabilities agree when both are of the distribution that was sampled."""
    data = publish(tmp_path, bandit(model, num_tasks=16, attempts=4, rewarded=130, temperature=temperature))
    config = TrainConfig(data=data, model=model)
    plan = make_plan(config, **limits(model))
    it = Learner(
        Accelerator(cpu=True), SampledTokens(load_policy(model)), torch.optim.AdamW([torch.zeros(1)]), plan, config
    )

    metrics = accumulate(it, plan.sequences, denominator=1.0)

    assert metrics["ratio_mean"] == pytest.approx(1, abs=1e-4)
    assert metrics["log_ratio_abs"] < 1e-4
    assert metrics["clip_fraction"] == 0


def limits(model: Path) -> dict[str, int]:
    """Return the limits of a model as `make_plan` takes them."""
    vocabulary_size, max_length = read_limits(model)
    return {"vocabulary_size": vocabulary_size, "max_length": max_length}


def train(model: Path, data: Path, **settings: object) -> tuple[Learner, list[dict[str, object]], object]:
    """Run the loop over a published dataset."""
    config = TrainConfig(data=data, model=model, **settings)
    plan = make_plan(config, **limits(model))
    it = make_learner(Accelerator(cpu=True), load_policy(model), plan, config)
    lines: list[dict[str, object]] = []
    return it, lines, learn(it, lines.append)


def chance_of_reward(tokens: torch.nn.Module, rewarded: int) -> float:
    """Return the probability of a rewarded answer to prompts nobody trained on."""
    prompts = torch.randint(0, 64, (200, 6), generator=torch.Generator().manual_seed(99))
    with torch.no_grad():
        logits = tokens.policy(input_ids=prompts).logits[:, -1]
    return float(logits.softmax(-1)[:, :rewarded].sum(-1).mean())


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("loss", ["ppo", "cispo"])
def test_rewarded_answers_become_likelier_on_new_prompts(model: Path, tmp_path: Path, loss: str, seed: int) -> None:
    """A thousand logged answers, a sixth of them rewarded: at least a third more after it."""
    before = chance_of_reward(SampledTokens(load_policy(model)), 40)
    data = publish(tmp_path, bandit(model, num_tasks=64, attempts=16, rewarded=40, seed=seed))

    it, _, _ = train(model, data, loss=loss, seed=seed, learning_rate=3e-3, epochs=4, kl_budget=1.0)

    assert chance_of_reward(it.tokens, 40) > before * 4 / 3


def test_by_default_a_pass_moves_what_stands_out(model: Path, tmp_path: Path) -> None:
    """Twice, each time by its half of the budget, and rewarded answers become likelier on prompts nobody trained on."""
    before = chance_of_reward(SampledTokens(load_policy(model)), 40)
    data = publish(tmp_path, bandit(model, num_tasks=64, attempts=16, rewarded=40))

    it, lines, trained = train(model, data, kl_budget=1.0)

    assert trained.stopped is None
    first, second = (round(float(kl), 9) for kl in dict.fromkeys(line["kl_call"] for line in lines))
    assert 0.35 <= first <= 0.5 < second <= 1.0
    assert chance_of_reward(it.tokens, 40) > before * 4 / 3


@pytest.mark.parametrize(
    ("settings", "is_moved_by_pass"),
    [({}, True), ({"learning_rate": 1e-3}, False), ({"episodes_per_update": 8}, False), ({"recipe": "grpo"}, False),
     ({"recipe": "window"}, True), ({"learning_rate": 1e-3, "optimizer": "standout"}, True),
     ({"loss": "ppo", "token_critic": True}, False)],
)  # fmt: skip
def test_settings_of_adamw_mean_adamw(
    model: Path, tmp_path: Path, settings: dict[str, object], is_moved_by_pass: bool
) -> None:
    """Whoever asks for a rate or a size of updates gets updates."""
    data = publish(tmp_path, bandit(model, num_tasks=16, attempts=4, rewarded=130))
    config = TrainConfig(data=data, model=model, **settings)

    assert (chosen_optimizer(config, make_plan(config, **limits(model))) == "standout") is is_moved_by_pass


def test_where_nothing_stands_out_nothing_moves(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the run says so."""
    data = publish(tmp_path, bandit(model, num_tasks=16, attempts=4, rewarded=130))
    monkeypatch.setattr("train.engine.standout.THRESHOLD", 1e9)

    it, lines, trained = train(model, data)

    assert trained.num_updates == len(lines) == 0
    assert str(trained.stopped).startswith("nothing stands out")
    before = load_policy(model).parameters()
    assert all(torch.equal(one, other) for one, other in zip(it.tokens.policy.parameters(), before, strict=True))


def test_where_little_stands_out_a_step_is_shorter(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half as sure, half as far: a quarter of the distance; in the second pass as well, whose episodes are the same."""
    data = publish(tmp_path, bandit(model, num_tasks=64, attempts=16, rewarded=40))
    sure = iter([0.5])
    monkeypatch.setattr("train.engine.standout.Standout.evidence", lambda *_: next(sure))

    _, lines, trained = train(model, data, kl_budget=1.0)

    assert trained.stopped is None
    first, second = (round(float(kl), 9) for kl in dict.fromkeys(line["kl_call"] for line in lines))
    assert 0.35 / 4 <= first <= 0.5 / 4 < second <= 1.0 / 4


def test_a_policy_that_is_sure_goes_less_far(model: Path, tmp_path: Path) -> None:
    """At most a share of the entropy of a call, whatever the budget."""
    rows = bandit(model, num_tasks=64, attempts=16, rewarded=40)
    entropy = -sum(row["behavior_logprobs"][0] for row in rows) / len(rows)

    _, lines, _ = train(model, publish(tmp_path, rows), kl_budget=99)

    assert 0.6 * MOST_OF_ENTROPY < lines[-1]["kl_call"] / entropy < 1.05 * MOST_OF_ENTROPY


def test_where_no_distance_can_be_measured_it_is_adamw(model: Path, tmp_path: Path) -> None:
    """Text of another model says nothing of how far ours has gone."""
    data = publish(tmp_path, bandit(model, num_tasks=16, attempts=4, rewarded=130))
    config = TrainConfig(data=data, model=model)
    plan = make_plan(config, **limits(model))
    assert chosen_optimizer(config, plan) == "standout"
    calls = [replace(each, evidence=Evidence.FOREIGN) for each in plan.logged.calls]

    plan = replace(plan, logged=Logged(plan.logged.episodes, calls))

    assert chosen_optimizer(config, plan) == "adamw"


@pytest.mark.parametrize("learning_rate", [1e-5, 3e-4, 1e-2, 1.0])
def test_a_step_finds_its_own_size(model: Path, tmp_path: Path, learning_rate: float) -> None:
    """Whatever the rate to begin with, the run goes to its end, makes its updates, and stays within the budget."""
    data = publish(tmp_path, bandit(model, num_tasks=32, attempts=4, rewarded=130))

    _, lines, trained = train(model, data, learning_rate=learning_rate, epochs=8, kl_budget=0.1)

    assert trained.stopped is None
    assert len(lines) == trained.num_updates > 8
    assert lines[-1]["kl_call"] <= 0.1
    assert lines[-1]["kl_call"] > (0.05 if learning_rate >= 3e-4 else 0)


def test_the_distance_is_that_from_where_the_run_began(model: Path, tmp_path: Path) -> None:
    """Rounding on the engine's side, 0.04 nats a token, is not counted as a step of ours; what is measured again is."""
    rows = bandit(model, num_tasks=32, attempts=4, rewarded=130)
    noise = np.random.default_rng(0).normal(0, 0.05, len(rows))
    noisy = [
        row | {"behavior_logprobs": [row["behavior_logprobs"][0] + off]} for row, off in zip(rows, noise, strict=True)
    ]
    at_home = train(model, publish(tmp_path, noisy), learning_rate=1e-9, epochs=1)

    assert at_home[2].mismatch == pytest.approx(np.abs(noise).mean(), rel=0.3)
    assert at_home[1][-1]["kl_call"] < 1e-6


@pytest.mark.parametrize("learning_rate", [1e30, 3e38, float("inf")])
def test_a_rate_beyond_all_measure_publishes_nothing_that_is_not_finite(
    model: Path, tmp_path: Path, learning_rate: float
) -> None:
    """Either a step was found, or none was made."""
    data = publish(tmp_path, bandit(model, num_tasks=32, attempts=4, rewarded=130))

    it, lines, trained = train(model, data, learning_rate=learning_rate, epochs=4)

    assert are_finite(it)
    assert all(np.isfinite(line["kl_call"]) and line["kl_call"] <= 1.0 for line in lines)
    assert trained.num_updates == len(lines)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf")])
def test_an_update_that_is_not_finite_is_undone_and_counted(model: Path, tmp_path: Path, wrong: float) -> None:
    """One call whose advantage is no number: the updates it is in change nothing, the others teach."""
    data = publish(tmp_path, bandit(model, num_tasks=32, attempts=4, rewarded=130))
    config = TrainConfig(data=data, model=model, epochs=2, learning_rate=1e-4)
    plan = make_plan(config, **limits(model))
    plan.advantages[plan.sequences[0].calls[0]] = wrong
    policy = load_policy(model)
    it = Learner(
        Accelerator(cpu=True), SampledTokens(policy), torch.optim.AdamW(policy.parameters(), lr=1e-4), plan, config
    )
    lines: list[dict[str, object]] = []

    trained = learn(it, lines.append)

    assert trained.num_undone == 2
    assert trained.num_updates == len(lines) == 2
    assert are_finite(it)


def test_calls_of_another_model_are_refused(model: Path, tmp_path: Path) -> None:
    """Recorded log-probabilities that are not the model's own point to the wrong weights."""
    rows = bandit(model, num_tasks=16, attempts=4, rewarded=130)
    data = publish(tmp_path, [row | {"behavior_logprobs": [row["behavior_logprobs"][0] - 1]} for row in rows])

    with pytest.raises(GateRefused, match=r"did not sample these calls: .* by 1\.000 nats"):
        train(model, data, learning_rate=1e-3)


def test_the_same_run_twice_ends_in_the_same_weights(model: Path, tmp_path: Path) -> None:
    """Bit for bit, on one machine."""
    data = publish(tmp_path, bandit(model, num_tasks=16, attempts=4, rewarded=130))

    runs = [train(model, data, learning_rate=1e-3, epochs=2)[0].tokens for _ in range(2)]

    assert all(torch.equal(one, other) for one, other in zip(*(run.parameters() for run in runs), strict=True))


def test_an_update_may_be_measured_in_tokens(model: Path, tmp_path: Path) -> None:
    """Of a window with one trained token an episode, as many episodes as tokens."""
    data = publish(tmp_path, bandit(model, num_tasks=16, attempts=4, rewarded=130))

    _, lines, _ = train(model, data, learning_rate=1e-5, epochs=1, tokens_per_update=16)

    assert [line["num_episodes"] for line in lines] == [16] * 4


def test_the_rate_grows_evenly_while_a_run_warms_up(model: Path, tmp_path: Path) -> None:
    """To the rate that was asked for, and stays there."""
    data = publish(tmp_path, bandit(model, num_tasks=16, attempts=4, rewarded=130))

    _, lines, _ = train(model, data, learning_rate=1e-5, epochs=2, warmup_updates=3, episodes_per_update=16)

    rates = [line["learning_rate"] for line in lines]
    assert rates == pytest.approx([2.5e-6, 5e-6, 7.5e-6, *[1e-5] * 5])


def test_every_epoch_deals_every_episode_once() -> None:
    """In an order of its own, in even shares."""
    epochs = [deal_episodes(25, 10, seed=f"0/{epoch}") for epoch in range(3)]

    assert {len(episodes) for updates in epochs for episodes in updates} == {12, 13}
    flat = [[episode for episodes in updates for episode in episodes] for updates in epochs]
    assert all(sorted(order) == list(range(25)) for order in flat)
    assert flat[0] != flat[1]


def test_half_precision_computes_and_full_precision_keeps(model: Path) -> None:
    """The gradient points where that of float32 does; weights and gradients stay float32."""
    exact = learner(model, CONVERSATION, ADVANTAGES, dtype=torch.float32)
    rounded = learner(model, CONVERSATION, ADVANTAGES, dtype=torch.float32)
    AcceleratorState._reset_state()  # Accelerate keeps the precision of a process
    try:
        rounded = replace(rounded, accelerator=Accelerator(cpu=True, mixed_precision="bf16"))
        _, other = gradient(rounded)
    finally:
        AcceleratorState._reset_state()
    _, one = gradient(replace(exact, accelerator=Accelerator(cpu=True)))

    assert {weight.dtype for weight in rounded.weights} == {torch.float32}
    assert other.dtype == torch.float32
    assert torch.nn.functional.cosine_similarity(one, other, dim=0) > 0.99
    assert not torch.equal(one, other)


def test_both_sides_of_a_pair_and_attempts_at_a_task_are_in_one_update(model: Path, tmp_path: Path) -> None:
    """Under DPO pairs, however small an update; attempts at one task as far as it is large enough."""
    data = publish(tmp_path, bandit(model, num_tasks=16, attempts=4, rewarded=130))

    paired, alone = (
        make_plan(TrainConfig(data=data, model=model, loss=loss), **limits(model)) for loss in ("dpo", "ppo")
    )

    units = keep_together(paired, paired.episode_sequences(), most=1)
    unit_of = {episode: number for number, unit in enumerate(units) for episode in unit}
    episodes = [paired.logged.calls[index].episode for index in range(64)]
    pairs = [(episodes[call], episodes[other]) for call, other in enumerate(paired.route.partner) if other >= 0]
    assert pairs
    assert all(unit_of[one] == unit_of[other] for one, other in pairs)
    dealt = {most: keep_together(alone, alone.episode_sequences(), most=most) for most in (1, 2.7, 9)}
    assert dealt[1] == [[index] for index in range(64)]
    assert {len(unit) for unit in dealt[2.7]} == {2}
    assert {len(unit) for unit in dealt[9]} == {4}
    for unit in dealt[9]:
        assert len({alone.logged.episodes[episodes[index]].task for index in unit}) == 1
