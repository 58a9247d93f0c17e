"""What a model makes of tasks that are kept out of its training, and a run that ends by them."""

import math
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

from tests.logged import publish, transition
from train.engine.learner import Learner
from train.engine.policy import load_policy
from train.equipment import make_learner
from train.gate.distance import copy_weights, set_weights
from train.gate.heldout import heldout_loss
from train.loop import Trained, learn
from train.plan import make_plan, read_limits
from train.schema import tokenizer_digests
from train.settings import TrainConfig


def rows(model: Path, num_tasks: int, *, is_learnable: bool) -> list[dict[str, object]]:
    """Return one rewarded answer of two tokens to each prompt, by a policy nobody knows: always the same, or any."""
    numbers = torch.randint(0, 64, (num_tasks, 8), generator=torch.Generator().manual_seed(5)).tolist()
    return [
        transition(
            episode_id=f"{task}",
            span_id=f"{task}",
            task_id=f"{task}",
            prompt_token_ids=line[:6],
            response_token_ids=[7, 8] if is_learnable else line[6:],
            behavior_logprobs=None,
            tokenizer_digest=tokenizer_digests(model)[0],
            evidence="B",
        )
        for task, line in enumerate(numbers)
    ]


def prepared(model: Path, data: Path, **settings: object) -> Learner:
    config = TrainConfig(data=data, model=model, recipe="imitate", **settings)
    vocabulary_size, max_length = read_limits(model)
    plan = make_plan(config, vocabulary_size=vocabulary_size, max_length=max_length)
    return make_learner(Accelerator(cpu=True), load_policy(model), plan, config)


def trained(model: Path, data: Path, **settings: object) -> tuple[Learner, Trained]:
    it = prepared(model, data, learning_rate=3e-3, episodes_per_update=32, **settings)
    return it, learn(it, lambda _line: None)


def test_the_loss_is_that_of_the_tokens_kept_out(model: Path, tmp_path: Path) -> None:
    """Worked out another way: a forward pass of each call by itself."""
    it = prepared(model, publish(tmp_path, rows(model, 96, is_learnable=False)), heldout_share=0.1)
    it.prepare()
    policy = it.accelerator.unwrap_model(it.tokens).policy

    expected = []
    for index in it.plan.heldout_calls:
        call = it.plan.logged.calls[index]
        ids = torch.tensor([[*call.prompt_ids, *call.response_ids]])
        with torch.no_grad():
            logprobs = policy(input_ids=ids).logits[0, :-1].log_softmax(-1)
        expected += logprobs[len(call.prompt_ids) - 1 :].gather(1, ids[0, len(call.prompt_ids) :, None]).flatten()

    assert len(it.plan.heldout_calls) == 10
    assert heldout_loss(it) == pytest.approx(-float(torch.stack(expected).mean()), abs=1e-5)


def test_what_carries_over_is_learned_in_all_passes(model: Path, tmp_path: Path) -> None:
    """The same answer to every prompt."""
    _, ended = trained(model, publish(tmp_path, rows(model, 96, is_learnable=True)))

    assert ended.stopped is None
    assert len(ended.heldout_losses) == 5
    assert ended.heldout_losses[-1] < 0.5 * ended.heldout_losses[0]


def test_a_run_ends_before_it_learns_by_heart(model: Path, tmp_path: Path) -> None:
    """Answers that nothing foretells: the pass after which others are less likely is taken back, with its updates."""
    data = publish(tmp_path, rows(model, 96, is_learnable=False))

    it, ended = trained(model, data, epochs=40)

    assert ended.stopped is not None
    assert "kept out" in ended.stopped
    assert ended.heldout_losses[-1] > min(ended.heldout_losses)
    assert heldout_loss(it) == pytest.approx(min(ended.heldout_losses), abs=1e-6)
    passes = len(ended.heldout_losses) - 2
    assert ended.num_updates == 3 * passes
    _, through = trained(model, data, epochs=40, heldout_share=0)
    assert through.stopped is None
    assert through.heldout_losses == ()


def test_a_loss_that_cannot_be_said_is_no_better(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NaN after the first pass: nothing of it stays."""
    losses = iter([1.0, math.nan])
    monkeypatch.setattr("train.loop.heldout_loss", lambda _learner: next(losses))

    it, ended = trained(model, publish(tmp_path, rows(model, 96, is_learnable=True)))

    weights = copy_weights(it)
    set_weights(it, [weight.detach() for weight in load_policy(model).parameters()])
    assert all(torch.equal(one, other) for one, other in zip(weights, copy_weights(it), strict=True))
    assert ended.num_updates == 0
