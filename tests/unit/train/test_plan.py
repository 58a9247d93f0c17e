"""The plan: which policies count, what is too little, and that it says what is lacking."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from foundation.errors import GateRefused, SettingsError
from tests.logged import frame, publish, transition
from train.plan import (
    Plan,
    choose_policies,
    leave_out_imitated,
    make_plan,
    read_imitated,
    read_limits,
    trainable_policies,
)
from train.schema import CREDIT_FILE, MANIFEST, Manifest
from train.settings import TrainConfig


def plan(data: Path, **settings: object) -> Plan:
    """Plan a run over a dataset with room for everything."""
    return make_plan(TrainConfig(data=data, model=data, **settings), vocabulary_size=100, max_length=100)


def attempts(num_tasks: int, outcomes: list[float | None], **fields: object) -> list[dict[str, object]]:
    """Return single-call episodes: every task attempted once for each outcome."""
    return [
        transition(episode_id=f"{task}-{attempt}", task_id=str(task), outcome=outcome, **fields)
        for task in range(num_tasks)
        for attempt, outcome in enumerate(outcomes)
    ]


def test_a_plan_counts_what_it_will_train(tmp_path: Path) -> None:
    """Worked by hand: 20 tasks, a success, a failure and an unrewarded attempt each."""
    facts = plan(publish(tmp_path, attempts(20, [1.0, 0.0, None]))).facts

    assert facts["num_episodes"] == 60
    assert facts["num_rewarded"] == facts["num_trained_calls"] == facts["num_trained_episodes"] == 40
    assert facts["num_varied_tasks"] == facts["num_repeated_tasks"] == 20
    assert facts["num_trained_tokens"] == 80
    assert facts["set_aside"] == {"no_outcome": 20}
    assert facts["evidence"] == {"A": 60}
    assert facts["mean_outcome"] == 0.5


def test_negative_advantages_weigh_as_little_as_the_settings_say(tmp_path: Path) -> None:
    """Success +1, failure -1 against the other attempt of its task, and half of that."""
    settings = {"credit": "return_to_go", "baseline": "leave_one_out", "shrinkage": 0}
    advantages = plan(publish(tmp_path, attempts(20, [1.0, 0.0])), negative=0.5, **settings).advantages

    assert advantages.tolist() == [1.0, -0.5] * 20


@pytest.mark.parametrize(
    ("rows", "settings", "said"),
    [
        ([], {}, "etl run"),
        (attempts(5, [1.0, 0.0]), {}, "trainable episodes    10 of at least 32"),
        (attempts(40, [None]), {}, "40, 0 with an outcome"),
        (attempts(40, [1.0, 1.0]), {}, "informative episodes  0 of at least 16"),
        (attempts(40, [1.0, 0.0], evidence="C"), {"loss": "ppo"}, "rows by evidence      C 80; ppo trains exact, resc"),
        (attempts(40, [1.0, 0.0], evidence="C"), {"loss": "ppo"}, "through the gateway"),
        (
            [row | {"outcome": float(index % 2)} for index, row in enumerate(attempts(40, [1.0]))],
            {"shrinkage": 0, "credit": "return_to_go", "baseline": "leave_one_out"},
            "--baseline value",
        ),
        (attempts(40, [1.0, 0.0]), {"agents": "nobody"}, "other_agent 80"),
        (attempts(40, [1.0, 0.0], agent="planner"), {"agents": "nobody"}, "the data has planner"),
        (attempts(40, [1.0, 1.0]), {}, "--recipe imitate"),
        (attempts(40, [1.0, 0.0], behavior_logprobs=[-1.0]), {}, "fit neither each other nor the model"),
    ],
)
def test_too_little_is_refused_with_what_is_lacking(
    tmp_path: Path, rows: list[dict[str, object]], settings: dict[str, object], said: str
) -> None:
    """The message counts what there is, and the hint says the way out."""
    if rows:
        publish(tmp_path, rows)

    with pytest.raises(GateRefused) as refused:
        plan(tmp_path, **settings)

    assert said in str(refused.value)


def checkpoint(out: Path, name: str, parent: str | None) -> Path:
    """Write a directory that is a checkpoint as far as its manifest goes."""
    manifest = Manifest(
        checkpoint_id=name,
        parent=parent,
        weights_digest="",
        tokenizer_digest="",
        chat_template_digest=None,
        created_time="",
        code_version="",
        window={},
        settings={},
        metrics={},
        probes=[],
    )
    (out / name).mkdir()
    (out / name / MANIFEST).write_text(json.dumps(manifest.model_dump(mode="json")))
    return out / name


def test_text_is_imitated_once_in_a_line_of_checkpoints(tmp_path: Path) -> None:
    """What an ancestor learned from is left out, not what it left out itself; calls with ids are read again."""
    checkpoint(tmp_path, "first", None)
    child = checkpoint(tmp_path, "second", "first")
    key = {"project": "test", "span_id": "0" * 16}
    pl.DataFrame(
        [key | {"episode_id": f"{task}-0", "known": "foreign", "weight": float(task < 10)} for task in range(20)]
    ).write_parquet(tmp_path / "first" / CREDIT_FILE)
    rows = frame([*attempts(20, [1.0], prompt_token_ids=None), *attempts(20, [1.0])])

    left, number = leave_out_imitated(rows, read_imitated(child))

    assert number == 10
    assert len(left.filter(pl.col("prompt_token_ids").is_null())) == 10
    assert len(left) == 30
    assert leave_out_imitated(rows, read_imitated(tmp_path))[1] == 0


def test_the_lag_counts_checkpoints_back_along_the_parents(tmp_path: Path) -> None:
    """As far as the directories are there, and one name further."""
    checkpoint(tmp_path, "first", "base-12345678")
    checkpoint(tmp_path, "second", "first")
    third = checkpoint(tmp_path, "third", "second")

    assert [trainable_policies(third, lag) for lag in (0, 1, 9)] == [
        ["third"],
        ["third", "second"],
        ["third", "second", "first", "base-12345678"],
    ]


def test_a_checkpoint_trains_on_its_own_calls_only(tmp_path: Path) -> None:
    """Also when no row names it: then there is nothing to train."""
    path = checkpoint(tmp_path, "mine", None)

    assert choose_policies(frame([transition(policy_version="theirs")]), path, trainable_policies(path, 0)) == {"mine"}


def test_a_model_served_under_any_name_trains_on_all_calls(tmp_path: Path) -> None:
    """Nobody knows what a model without a manifest was called; its log-probabilities tell."""
    (tmp_path / "model.safetensors").write_bytes(b"weights")

    assert (
        choose_policies(frame([transition(policy_version="whatever")]), tmp_path, trainable_policies(tmp_path, 0))
        is None
    )


def test_a_directory_that_is_no_model_is_a_wrong_setting(tmp_path: Path) -> None:
    """Exit status 2, not 1: running again cannot help."""
    with pytest.raises(SettingsError, match=r"no config\.json"):
        read_limits(tmp_path)


def test_names_of_agents_come_separated_by_commas() -> None:
    """`--agents a,b` and `--agents a --agents b` say the same."""
    assert TrainConfig(model=Path(), agents=("a, b",)) == TrainConfig(model=Path(), agents=("a", "b"))


@pytest.mark.parametrize(
    "settings",
    [
        {"baseline": "leave_one_out"},
        {"credit": "identical"},
        {"scale": "group_std"},
        {"credit": "identical", "baseline": "none", "overlong_tokens": 9},
    ],
)
def test_credit_and_baseline_that_do_not_go_together_are_wrong_settings(settings: dict[str, str]) -> None:
    """Said before anything is read."""
    with pytest.raises(SettingsError):
        TrainConfig(model=Path(), **settings)


def test_the_mean_of_a_group_is_that_of_the_group_alone(tmp_path: Path) -> None:
    """GRPO's own figures, three good of four: 0.5 and -1.5 deviations, whatever happened at other tasks."""
    rows = [
        row | {"task_id": task, "episode_id": f"{task}-{index}", "span_id": f"{task}-{index}", "outcome": outcome}
        for task, outcomes in {"good": [1.0, 1.0, 1.0, 0.0], "failed": [0.0] * 40}.items()
        for index, (row, outcome) in enumerate(zip(attempts(40, [1.0])[: len(outcomes)], outcomes, strict=True))
    ]
    settings = {"credit": "identical", "baseline": "group_mean", "scale": "group_std", "negative": 1}

    found = plan(publish(tmp_path, rows), min_informative=1, **settings)

    earned = {each.episode_id: found.advantages[index] for index, each in enumerate(found.logged.episodes)}
    assert [round(float(earned[f"good-{index}"]), 6) for index in range(4)] == [0.5, 0.5, 0.5, -1.5]
    assert not any(earned[f"failed-{index}"] for index in range(40))


@pytest.mark.parametrize(
    "settings",
    [
        {"credit": credit, "baseline": baseline}
        for credit in ("return_to_go", "identical")
        for baseline in ("leave_one_out", "group_mean", "role_ema", "none")
    ]
    + [{}, {"credit": "return_to_go", "baseline": "value"}, {"scale": "role_std"}, {"air_gate": "outcome"}],
)
def test_every_credit_prefers_success(tmp_path: Path, settings: dict[str, str]) -> None:
    """Whatever it is compared with, a call of a success has the larger advantage on average."""
    advantages = plan(publish(tmp_path, attempts(20, [1.0, 0.0])), negative=1, **settings).advantages

    assert advantages[::2].mean() > advantages[1::2].mean() + 0.4
    assert np.isfinite(advantages).all()


def test_a_long_answer_earns_less_where_length_is_a_reward(tmp_path: Path) -> None:
    """Nine tokens of ten at most: half of -1, held by the cap of 0.49; without the setting length is nothing."""
    long = {"response_token_ids": [5] * 9, "behavior_logprobs": [-1.0] * 9}
    rows = attempts(20, [1.0, 0.0])
    rows[0] |= long
    rows[-1] |= long | {"agent": "frozen"}
    data = publish(tmp_path, rows)
    settings = {"negative": 1, "credit": "return_to_go", "baseline": "none", "agents": "agent"}

    plain = plan(data, **settings).advantages
    short = plan(data, **settings, overlong_tokens=10).advantages

    episodes = [call.episode for call in plan(data, **settings).logged.calls]
    changed = short - plain
    assert sorted(changed)[:2] == pytest.approx([-0.49, 0.0])
    assert episodes[int(np.argmin(changed))] == 0


def test_a_plan_knows_how_old_the_policies_of_its_calls_are(tmp_path: Path) -> None:
    """In versions; a call that does not name one of them has no age."""
    rows = attempts(20, [1.0, 0.0])
    for row, version in zip(rows, ["now", "before", "else", None], strict=False):
        row["policy_version"] = version
    made = replace(plan(publish(tmp_path, rows)), versions=("now", "before"))

    lags = {call.policy_version: made.lag_of(index) for index, call in enumerate(made.logged.calls)}

    assert lags == {"now": 0, "before": 1, "else": None, None: None}


def test_a_plan_says_what_goes_where(tmp_path: Path) -> None:
    """The table of the report, by what is known."""
    greedy = transition(episode_id="greedy", task_id="0", temperature=0.0)
    rows = [*attempts(20, [1.0, 0.0]), greedy]

    routes = plan(publish(tmp_path, rows)).facts["routes"]

    assert [(row["known"], row["loss"], row["num_calls"]) for row in routes] == [
        ("exact", "cispo", 40),
        ("cut", "topr", 1),
    ]


def test_a_file_for_a_model_is_a_wrong_setting(tmp_path: Path) -> None:
    """Not a traceback."""
    (tmp_path / "model").write_text("weights?")

    with pytest.raises(SettingsError, match="no directory"):
        read_limits(tmp_path / "model")


@pytest.mark.parametrize(
    ("fields", "settings", "way_out"),
    [
        ({}, {"agents": "nobody"}, "the data has agent"),
        ({"behavior_logprobs": [-1.0]}, {}, "neither each other"),
        ({"evidence": "B"}, {}, "another tokenizer"),
    ],
)
def test_the_way_out_is_of_what_is_wrong(
    tmp_path: Path, fields: dict[str, object], settings: dict[str, str], way_out: str
) -> None:
    """Waiting for more of the same traffic would not help."""
    with pytest.raises(GateRefused) as refused:
        plan(publish(tmp_path, attempts(40, [1.0, 0.0], **fields)), **settings)

    assert way_out in str(refused.value.hint)


def test_data_that_is_not_there_is_a_wrong_setting(tmp_path: Path) -> None:
    """Not a gate's refusal: no traffic will make it appear."""
    with pytest.raises(SettingsError, match="no directory"):
        plan(tmp_path / "nowhere")
