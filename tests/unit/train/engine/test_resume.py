"""Resuming: wherever a run stops, going on ends in the weights it would have had, to the last bit."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from foundation.errors import Busy, SpanloopError
from tests.logged import bandit, publish
from train.engine.adapters import attach
from train.engine.learner import Learner
from train.engine.policy import load_policy
from train.engine.resume import Keeper, Progress, fingerprint, sweep
from train.equipment import make_learner
from train.loop import Trained, learn
from train.plan import make_plan, read_limits
from train.settings import TrainConfig

TIMES = {
    *("duration_s", "tokens_per_s", "forward_tokens_per_s", "flops_per_s"),
    *("forward_s", "backward_s", "step_s", "score_s"),
}
"""What no two runs have in common."""


class Killed(BaseException):
    """Stands for a signal; nothing catches it."""


class Mortal(Keeper):
    """Keeps after every update, and dies after a number of times."""

    lives = 10**9

    def keep(
        self,
        learner: Learner,
        progress: Progress,
        start: list[torch.Tensor],
        best: list[torch.Tensor] | None = None,
    ) -> None:
        super().keep(learner, progress, start, best)
        self.lives -= 1
        if not self.lives:
            raise Killed


@pytest.fixture(scope="module")
def data(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a dataset of two updates an epoch."""
    return publish(tmp_path_factory.mktemp("data"), bandit(model, num_tasks=32, attempts=4, rewarded=130))


def run(model: Path, data: Path, keeper: Keeper, **settings: object) -> tuple[list[torch.Tensor], Trained, list[Any]]:
    """Train from the model's directory, as a new process would; return weights, how it ended and the lines."""
    config = TrainConfig(data=data, model=model, learning_rate=1e-3, weight_decay=0.1, **settings)
    vocabulary_size, max_length = read_limits(model)
    plan = make_plan(config, vocabulary_size=vocabulary_size, max_length=max_length)
    policy = load_policy(model)
    if config.adapter == "lora":
        torch.manual_seed(config.seed)  # as a run does, before it draws the adapter
        attach(policy, config)
    learner = make_learner(Accelerator(cpu=True), policy, plan, config)
    lines: list[dict[str, Any]] = []
    trained = learn(
        learner,
        lambda line: lines.append({name: value for name, value in line.items() if name not in TIMES}),
        keeper,
    )
    return [weight.detach() for weight in learner.tokens.parameters()], trained, lines


@pytest.mark.long
@pytest.mark.parametrize(
    "settings",
    [
        {"epochs": 2, "kl_budget": 9},
        {"epochs": 9, "kl_budget": 0.4},
        {"epochs": 3, "kl_budget": 9, "adapter": "lora", "lora_rank": 4},
        {"epochs": 2, "kl_budget": 9, "loss": "ppo", "token_critic": True, "token_lambda": 0.9},
        {"epochs": 9, "kl_budget": 9, "recipe": "imitate", "heldout_share": 0.3},
    ],
    ids=["to the end", "going back", "an adapter", "with a token critic", "ended by tasks kept out"],
)
def test_a_run_killed_anywhere_ends_in_the_same_weights(
    model: Path, data: Path, tmp_path: Path, settings: dict[str, Any]
) -> None:
    """After every single update: weights, metrics and the reason it ended are those of the run nobody disturbed.

    The weights of a token critic are among them.
    """
    weights, trained, lines = run(model, data, Keeper(tmp_path / "whole", interval_s=1e9), **settings)
    assert trained.num_updates >= 4

    for lives in range(1, 99):
        keeper = Mortal(tmp_path / str(lives), interval_s=0)
        keeper.lives = lives
        try:
            run(model, data, keeper, **settings)
        except Killed:
            pass
        else:
            break  # it ended before it was killed: every place was tried
        again, ended, relined = run(model, data, Keeper(tmp_path / str(lives), interval_s=0), **settings)
        assert all(torch.equal(one, other) for one, other in zip(weights, again, strict=True))
        assert (ended.num_updates, ended.stopped, ended.mismatch) == (
            trained.num_updates,
            trained.stopped,
            trained.mismatch,
        )
        assert relined == lines

    assert lives > trained.num_updates


def test_a_run_gone_on_with_has_the_reference_it_began_with(model: Path, data: Path, tmp_path: Path) -> None:
    """Not the policy at the place where it was killed: under DRO, whose loss pulls to the reference."""
    settings = {"epochs": 2, "kl_budget": 9, "loss": "dro"}
    weights, _, lines = run(model, data, Keeper(tmp_path / "whole", interval_s=1e9), **settings)
    keeper = Mortal(tmp_path / "killed", interval_s=0)
    keeper.lives = 3
    with pytest.raises(Killed):
        run(model, data, keeper, **settings)

    again, _, relined = run(model, data, Keeper(tmp_path / "killed", interval_s=0), **settings)

    assert all(torch.equal(one, other) for one, other in zip(weights, again, strict=True))
    assert relined == lines


@pytest.mark.long
def test_a_pass_gone_on_with_moves_as_the_whole_one(model: Path, data: Path, tmp_path: Path) -> None:
    """By `standout` a pass moves once, by all its batches: killed within the first one, and within the second."""
    settings = {"optimizer": "standout", "epochs": 2}
    weights, trained, lines = run(model, data, Keeper(tmp_path / "whole", interval_s=1e9), **settings)
    assert len({line["kl_call"] for line in lines}) == 2
    assert trained.num_updates == len(lines) > 60
    for lives in (20, 40):  # the second time 60 states in
        keeper = Mortal(tmp_path / "killed", interval_s=0)
        keeper.lives = lives
        with pytest.raises(Killed):
            run(model, data, keeper, **settings)

    again, _, relined = run(model, data, Keeper(tmp_path / "killed", interval_s=1e9), **settings)

    assert all(torch.equal(one, other) for one, other in zip(weights, again, strict=True))
    assert relined == lines


def test_a_state_that_was_never_finished_is_not_gone_on_from(model: Path, data: Path, tmp_path: Path) -> None:
    """Until its name appears, the one before it counts; what was half-written is overwritten by the next."""
    keeper = Mortal(tmp_path, interval_s=0)
    keeper.lives = 2
    with pytest.raises(Killed):
        run(model, data, keeper, epochs=2, kl_budget=9)
    whole = [path.name for path in tmp_path.glob("state-*")]
    (tmp_path / ".partial").mkdir()
    (tmp_path / ".partial" / "progress.json").write_text("{}")

    _, trained, _ = run(model, data, Keeper(tmp_path, interval_s=0), epochs=2, kl_budget=9)

    assert whole == ["state-000001-000000"]
    assert trained.num_updates == 4
    assert [path.name for path in tmp_path.glob("state-*")] == ["state-000002-000000"]
    assert not (tmp_path / ".partial").exists()


def test_a_damaged_state_says_which_and_what_to_do(model: Path, data: Path, tmp_path: Path) -> None:
    """It is not passed over: hours may hang on it."""
    keeper = Mortal(tmp_path, interval_s=0)
    keeper.lives = 1
    with pytest.raises(Killed):
        run(model, data, keeper, epochs=2, kl_budget=9)
    (tmp_path / "state-000000-000001" / ".metadata").write_bytes(b"")

    with pytest.raises(SpanloopError, match="state-000000-000001 cannot be gone on from") as raised:
        run(model, data, Keeper(tmp_path, interval_s=0), epochs=2, kl_budget=9)

    assert "--no-resume" in str(raised.value.hint)


def test_states_are_as_far_apart_as_asked(model: Path, data: Path, tmp_path: Path) -> None:
    """By the clock; a run shorter than the interval keeps none."""
    ticks = iter(range(0, 10_000, 4))
    keeper = Mortal(tmp_path, interval_s=10, clock=lambda: float(next(ticks)))

    run(model, data, keeper, epochs=3, kl_budget=9)

    assert 10**9 - keeper.lives == 2  # six chances, one in three taken
    assert json.loads(next(tmp_path.glob("state-*/progress.json")).read_text())["num_updates"] > 0


def test_a_run_is_held_by_one_process(tmp_path: Path) -> None:
    """And leaves nothing behind when it kept nothing."""
    keeper = Keeper(tmp_path / "run", interval_s=0)

    with keeper.hold(is_main=True), pytest.raises(Busy), Keeper(tmp_path / "run", 0).hold(is_main=True):
        pass

    assert list(tmp_path.iterdir()) == []


def test_the_fingerprint_is_that_of_the_facts() -> None:
    """In whatever order they come."""
    facts = {"settings": {"seed": 0, "model": Path("/m")}, "window": {}}

    assert fingerprint(facts) == fingerprint(dict(reversed(facts.items())))
    assert fingerprint(facts) != fingerprint(facts | {"settings": {"seed": 1, "model": Path("/m")}})


def test_only_forgotten_states_are_swept(tmp_path: Path) -> None:
    """A week after the last sign of life."""
    (tmp_path / ".resume-a" / "state-000000-000001").mkdir(parents=True)
    now_s = (tmp_path / ".resume-a").stat().st_mtime

    sweep(tmp_path, now_s=now_s + 6 * 24 * 3600)
    assert (tmp_path / ".resume-a").exists()

    sweep(tmp_path, now_s=now_s + 8 * 24 * 3600)
    assert not (tmp_path / ".resume-a").exists()
