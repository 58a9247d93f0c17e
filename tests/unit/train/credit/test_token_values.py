"""The token critic: advantages of tokens, a gradient no batching can change, values that come to foresee returns."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from safetensors import safe_open

from etl.schema import Evidence, SetAside
from foundation.errors import SettingsError
from foundation.report import RunReport
from tests.logged import bandit, publish
from tests.unit.train.calls import call
from tests.unit.train.shares import OneOf
from train.credit.assignment import credit_calls
from train.credit.token_values import make_value_head, token_advantages, value_loss
from train.data.lineage import build_sequences
from train.data.logged import Call, Episode, Logged
from train.engine.learner import Learner
from train.engine.policy import SampledTokens, load_policy
from train.engine.update import accumulate
from train.equipment import make_learner
from train.loop import learn
from train.losses.routing import route_calls
from train.plan import Plan, make_plan, read_limits
from train.run import train
from train.settings import TrainConfig

LENGTHS = np.array([3, 0, 1, 5, 2])
CALLS = [
    call([1, 2, 3], [4, 5], behavior_logprobs=[-4.0, -6.0], temperature=0.7),
    call([1, 2, 3, 4, 5, 6], [7], turn=1, behavior_logprobs=[-5.0]),  # goes on from the first
    call([20, 21], [22], episode=1, set_aside=SetAside.OTHER_AGENT),
    call([30] * 9, [31, 32], episode=2, behavior_logprobs=[-6.0, -3.0]),
    call([40, 41], [42, 43, 44], episode=3, behavior_logprobs=[-5.0, -5.0, -5.0]),
]
TARGETS = np.array([1.0, -0.5, 0.0, 2.0, 0.25])


def reference(values: np.ndarray, returns: np.ndarray, lengths: np.ndarray, lambda_: float) -> np.ndarray:
    """Return the sum of lambda^k d_(t+k), written out token by token."""
    found = []
    for own, return_ in zip(np.split(values, np.cumsum(lengths)[:-1]), returns, strict=True):
        errors = np.append(own[1:], return_) - own if len(own) else own
        found += [sum(lambda_**k * error for k, error in enumerate(errors[t:])) for t in range(len(own))]
    return np.array(found)


@pytest.mark.parametrize("lambda_", [0.0, 0.5, 0.95, 1.0])
def test_advantages_are_the_discounted_sum_of_errors(lambda_: float) -> None:
    """Of calls of any length, none among them, in float64."""
    rng = np.random.default_rng(0)
    values, returns = rng.normal(size=LENGTHS.sum()), rng.normal(size=len(LENGTHS))

    found = token_advantages(values, returns, LENGTHS, lambda_=lambda_)

    assert found == pytest.approx(reference(values, returns, LENGTHS, lambda_), abs=1e-12)


def test_advantages_worked_out_by_hand() -> None:
    """Values 0.5, 0.75, 0.25 and return 1: errors 0.25, -0.5, 0.75. A second call of one token: 0 - 0.5."""
    values, returns, lengths = np.array([0.5, 0.75, 0.25, 0.5]), np.array([1.0, 0.0]), np.array([3, 1])

    assert token_advantages(values, returns, lengths, lambda_=0.5).tolist() == [0.1875, -0.125, 0.75, -0.5]
    assert token_advantages(values, returns, lengths, lambda_=0.0).tolist() == [0.25, -0.5, 0.75, -0.5]
    assert token_advantages(values, returns, lengths, lambda_=1.0).tolist() == [0.5, 0.25, 0.75, -0.5]


def test_of_nothing_there_are_no_advantages() -> None:
    """No calls, or calls without a token."""
    nothing = np.zeros(0)

    assert not len(token_advantages(nothing, nothing, np.zeros(0, int), lambda_=0.5))
    assert not len(token_advantages(nothing, np.ones(2), np.zeros(2, int), lambda_=0.5))


def test_a_value_that_has_moved_enough_towards_its_return_is_left_alone() -> None:
    """Half the larger of two squares; beyond the bound the gradient is gone, but never that of a value gone wrong."""
    values = torch.tensor([0.1, 0.5, -0.5], requires_grad=True)

    loss = value_loss(values, torch.zeros(3), torch.ones(3))
    loss.sum().backward()

    assert loss.tolist() == pytest.approx([0.5 * 0.9**2, 0.5 * 0.8**2, 0.5 * 1.5**2])
    assert values.grad.tolist() == pytest.approx([-0.9, 0.0, -1.5])


@pytest.mark.parametrize(
    ("settings", "place"),
    [({}, "loss ppo"), ({"loss": "cispo"}, "loss is cispo"), ({"loss": "ppo", "scale": "role_std"}, "scale role_std")],
)
def test_what_the_critic_does_not_fit_is_refused(model: Path, settings: dict[str, str], place: str) -> None:
    """`auto` among it, and what says which setting."""
    with pytest.raises(SettingsError, match=place):
        TrainConfig(model=model, token_critic=True, **settings)


def test_the_target_is_the_return_that_the_advantage_is_of() -> None:
    """Whatever it is compared with; nothing where nobody rewarded the episode."""
    calls = [call([1], [2], episode=episode) for episode in range(3)]
    logged = Logged([Episode("0", "t", 1.0), Episode("1", "t", 0.0), Episode("2", "t", float("nan"))], calls)
    for credit, baseline in [
        ("gae", "value"),
        *(("identical", name) for name in ("leave_one_out", "none")),
        *(("return_to_go", name) for name in ("value", "group_mean", "role_ema")),
    ]:
        found = credit_calls(logged, TrainConfig(model=Path("m"), credit=credit, baseline=baseline))
        assert found.targets == pytest.approx([1.0, 0.0, np.nan], nan_ok=True)


def learner(model: Path, calls: list[Call] = CALLS, targets: np.ndarray = TARGETS, **settings: object) -> Learner:
    """Return a learner in float64 with a token critic; the advantages of calls are none that anything should use."""
    policy = load_policy(model, dtype=torch.float64)
    config = TrainConfig(model=model, loss="ppo", token_critic=True, **settings)
    logged = Logged([Episode(str(index), "task", 1.0) for index in range(4)], calls)
    unused = np.full(len(calls), 1e6)
    route, _ = route_calls(logged, unused, loss="ppo", negative=1.0)
    plan = Plan(logged, build_sequences(calls), unused, route, facts={}, targets=targets)
    tokens = SampledTokens(policy, make_value_head(policy.config.hidden_size, dtype=torch.float64))
    return Learner(Accelerator(cpu=True), tokens, torch.optim.SGD(tokens.parameters(), lr=1e-2), plan, config)


def test_without_values_every_token_gets_the_return_of_its_call(model: Path) -> None:
    """At first every state is valued at 0, and nothing is lost on the way within a call."""
    it = learner(model, negative=1.0)
    it.objective.set_values(it.score_values())

    for batch, _ in it.share(it.plan.sequences):
        sampled, _ = it.sample(batch)
        assert not sampled.values.any()
        assert sampled.advantages.tolist() == TARGETS[batch.calls].tolist()
        assert sampled.returns.tolist() == TARGETS[batch.calls].tolist()


def test_negative_weighs_the_advantages_of_tokens(model: Path) -> None:
    """At 0 what went worse than expected is not pushed away."""
    it = learner(model, negative=0.0)
    it.objective.set_values(torch.ones(it.objective.num_tokens))

    found = it.objective._token_advantages

    assert found.tolist() == [0, 0, 0, 1, 1, 0, 0, 0]


def moved(model: Path, **settings: object) -> Learner:
    """Return a learner whose critic has values, from which both it and the policy have moved since."""
    it = learner(model, negative=1.0, token_lambda=0.9, **settings)
    noise = torch.Generator().manual_seed(1)
    with torch.no_grad():
        it.tokens.value_head.weight.normal_(generator=noise, std=0.1)
    it.objective.set_values(it.score_values())
    accumulate(it, it.plan.sequences, denominator=9.0)
    it.optimizer.step()
    it.optimizer.zero_grad()
    return it


def gradient(it: Learner) -> torch.Tensor:
    """Return the flat gradient of one update over the whole plan."""
    accumulate(it, it.plan.sequences, denominator=9.0)
    return torch.cat([weight.grad.flatten() for weight in it.weights])


def test_micro_batches_do_not_change_the_gradient(model: Path) -> None:
    """One sequence at a time, a few, or all in one row: neither the policy's nor the critic's."""
    found = [gradient(moved(model, tokens_per_batch=budget)) for budget in (1, 12, 8192)]

    assert torch.allclose(found[1], found[0], atol=1e-6)
    assert torch.allclose(found[2], found[0], atol=1e-6)
    critic = found[0][-33:]  # 32 weights and a bias, the last of the module
    assert critic.abs().min() > 1e-6
    assert found[0][:-33].abs().max() > 1e-4


@pytest.mark.parametrize("budget", [1, 8192])
def test_the_mean_over_two_processes_is_the_gradient_of_one(model: Path, budget: int) -> None:
    """Also where there is but one micro-batch, and the other process runs along."""
    it = moved(model, tokens_per_batch=budget)
    whole = gradient(it)

    parts = []
    for rank in range(2):
        it.optimizer.zero_grad()
        share = replace(it, accelerator=OneOf(rank, 2))
        share.objective.set_values(it.objective._values)
        parts.append(gradient(share))

    assert torch.allclose((parts[0] + parts[1]) / 2, whole, atol=1e-6)
    assert not torch.allclose(parts[0], parts[1], atol=1e-6)


def test_the_critic_does_not_move_the_policy(model: Path) -> None:
    """Its gradient ends at the states: with advantages of 0, only its own weights get any."""
    it = learner(model)
    it.objective.set_values(it.score_values())
    it.objective._token_advantages.zero_()

    found = gradient(it)

    assert not found[:-33].any()
    assert found[-33:].any()


def decided_calls(num_calls: int) -> tuple[list[Call], np.ndarray]:
    """Return calls with random answers of two tokens and their returns: 1 when the first one is of the lower half."""
    rng = np.random.default_rng(0)
    answers = rng.integers(10, 18, size=(num_calls, 2))
    unknown = [float("nan")] * 2
    calls = [
        call([1, 2, 3], answer.tolist(), episode=episode, evidence=Evidence.RESCORED, behavior_logprobs=unknown)
        for episode, answer in enumerate(answers)
    ]
    return calls, (answers[:, 0] < 14).astype(float)


@pytest.mark.long
def test_the_critic_foresees_returns_and_credits_the_token_that_decided(model: Path) -> None:
    """Before the first token nothing can be known, after it all: half of the variance can be explained, and no more.

    Told the returns of whole calls alone, the critic gives the first token nearly all of the credit.
    """
    calls, returns = decided_calls(128)
    config = TrainConfig(
        model=model, loss="ppo", token_critic=True, token_lambda=0.0, negative=1.0,
        learning_rate=1e-6, epochs=40, episodes_per_update=32, kl_budget=9,
    )  # fmt: skip
    logged = Logged([Episode(str(index), "task", one) for index, one in enumerate(returns)], calls)
    route, advantages = route_calls(logged, returns, loss="ppo", negative=1.0)
    plan = Plan(logged, build_sequences(calls), advantages, route, facts={}, targets=returns)
    it = make_learner(Accelerator(cpu=True), load_policy(model), plan, config)
    lines: list[dict[str, float]] = []

    learn(it, lines.append)

    explained = [line["token_value_explained"] for line in lines]
    assert explained[0] == 0
    assert np.mean(explained[:20]) < np.mean(explained[40:60]) < np.mean(explained[-20:])
    assert 0.4 < np.mean(explained[-20:]) < 0.5
    assert lines[-1]["value_loss"] < lines[0]["value_loss"] / 2
    it.objective.set_values(it.score_values())
    first, second = it.objective._token_advantages.reshape(-1, 2).abs().mean(0).tolist()
    assert first > 0.4
    assert first > 3 * second


def test_the_checkpoint_does_not_hold_the_critic(model: Path, tmp_path: Path) -> None:
    """What is served has the weights of the model it began from, by name, and nothing else."""
    data = publish(tmp_path, bandit(model, num_tasks=16, attempts=4, rewarded=130))
    config = TrainConfig(data=data, model=model, loss="ppo", token_critic=True, epochs=1, learning_rate=1e-4)
    vocabulary_size, max_length = read_limits(model)

    path = train(config, make_plan(config, vocabulary_size=vocabulary_size, max_length=max_length), RunReport("t", {}))

    def names(directory: Path) -> set[str]:
        with safe_open(directory / "model.safetensors", "pt") as file:
            return set(file.keys())

    assert names(path) == names(model)
    assert not list(path.glob("*value*"))
