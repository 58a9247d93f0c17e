"""Metrics: numbers worked out by hand, names that are documented, and trackers that get what the file gets."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from foundation.errors import SettingsError, SpanloopError
from foundation.report import RunReport
from tests.logged import bandit, publish
from train.engine.policy import load_policy
from train.metrics.curves import choose_curves, draw_picture, draw_text, read_metrics
from train.metrics.flops import update_flops
from train.metrics.measures import (
    METRICS,
    ROWS,
    describe_roles,
    describe_staleness,
    describe_tokens,
    describe_values,
    is_metric,
)
from train.metrics.stopwatch import Stopwatch
from train.plan import make_plan, read_limits
from train.run import train
from train.settings import TrainConfig

DOCS = Path(__file__).parents[4] / "docs" / "training.md"


@pytest.fixture(scope="module")
def checkpoint(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train once, with a tracker."""
    data = publish(tmp_path_factory.mktemp("data"), bandit(model, num_tasks=32, attempts=4, rewarded=130))
    config = TrainConfig(data=data, model=model, learning_rate=1e-3, epochs=2, kl_budget=9, log_with="tensorboard")
    vocabulary_size, max_length = read_limits(model)
    plan = make_plan(config, vocabulary_size=vocabulary_size, max_length=max_length)
    path = train(config, plan, RunReport("train run", {}))
    assert path is not None
    return path


def test_metrics_of_tokens_worked_out_by_hand() -> None:
    """Two tokens, ratios 1/2 and 2, the second one clipped."""
    half, double = np.log(0.5), np.log(2.0)
    table = torch.zeros(len(ROWS), 2, dtype=torch.float64)
    table[ROWS.index("log_ratio")] = torch.tensor([half, double])
    table[ROWS.index("is_clipped")] = torch.tensor([0.0, 1.0])
    table[ROWS.index("advantage")] = torch.tensor([0.0, 3.0])

    found = describe_tokens(table, denominator=1.0)

    assert (found["ratio_min"], found["ratio_max"], found["ratio_mean"]) == pytest.approx((0.5, 2.0, 1.25))
    assert found["ess_share"] == pytest.approx(2.5**2 / (0.25 + 4) / 2)
    assert found["kl_k1"] == pytest.approx(0)
    assert found["kl_k3"] == pytest.approx((0.5 - 1 - half + 2 - 1 - double) / 2)
    assert (found["clip_low_fraction"], found["clip_high_fraction"]) == (0, 0.5)
    assert found["advantage_zero_fraction"] == 0.5


def test_the_arithmetic_of_an_update_is_what_torch_counts(model: Path) -> None:
    """But for attention, which eager attention computes whole and of which only the causal half is needed."""
    from torch.utils.flop_counter import FlopCounterMode

    policy = load_policy(model)
    policy.set_attn_implementation("eager")
    with FlopCounterMode(display=False) as counter:
        policy(input_ids=torch.arange(64)[None]).logits.sum().backward()
    config = policy.config
    half = 6 * config.num_hidden_layers * config.num_attention_heads * config.head_dim * 64**2

    assert update_flops(policy, [64], 64) + half == counter.get_total_flops()


def test_every_metric_is_named_and_every_name_explained(checkpoint: Path) -> None:
    """In the code and in the docs."""
    lines = read_metrics(checkpoint)

    names = {name for line in lines for name in line} - {"update", "epoch"}
    assert [name for name in sorted(names) if not is_metric(name)] == []
    page = DOCS.read_text()
    assert [name for name in METRICS if f"`{name}`" not in page] == []


def test_the_lines_of_a_run_tell_roles_staleness_values_and_phases(checkpoint: Path) -> None:
    """Of one agent, whose calls name no version; phases are part of the update."""
    for line in read_metrics(checkpoint):
        assert line["reward/agent"] == line["reward"]
        assert line["intermediate/agent"] == 0
        assert line["staleness/unknown"] == 1
        assert line["value_explained"] <= 1
        assert 0 < line["forward_s"] + line["backward_s"] + line["step_s"] <= line["duration_s"] + 0.002


def test_an_episode_counts_once_for_a_role() -> None:
    """However many calls the role made in it, and not at all where nobody rewarded it."""
    episode = np.array([0, 0, 0, 1, 2])
    outcomes = np.array([1.0, 0.0, float("nan")])[episode]

    found = describe_roles(["a", "a", "a", "a", ""], np.array([0.4, 0.0, 0.0, 0.0, -0.1]), outcomes, episode)

    assert found == {"reward/a": 0.5, "intermediate/a": 0.1, "intermediate/unnamed": -0.1}


def test_staleness_is_in_order_of_age() -> None:
    """Ten versions are older than two; shares add up to 1."""
    found = describe_staleness([10, 2, None, 0])

    assert list(found) == ["staleness/0", "staleness/2", "staleness/10", "staleness/unknown"]
    assert sum(found.values()) == 1


def test_explained_variance_of_values() -> None:
    """The mean explains nothing, the truth everything, its opposite less than nothing; without spread there is none."""
    returns = np.array([0.0, 1.0, 0.0, 1.0, 5.0])
    unknown = np.array([0, 0, 0, 0, np.nan])

    assert describe_values(unknown + 0.5, returns) == {"value_explained": 0}
    assert describe_values(unknown + returns, returns) == {"value_explained": 1}
    assert describe_values(unknown + 1 - returns, returns) == {"value_explained": -3}
    assert describe_values(unknown, np.ones(5)) == {}


def test_a_stopwatch_adds_up_phases() -> None:
    """Two seconds twice, and one."""
    ticks = iter([0.0, 2.0, 3.0, 5.0, 9.0, 10.0])
    watch = Stopwatch(torch.device("cpu"), lambda: next(ticks))

    for phase in ("forward", "forward", "step"):
        with watch.phase(phase):
            pass

    assert watch.spent_s == {"forward": 4.0, "step": 1.0}


def test_a_tracker_gets_what_the_file_gets(checkpoint: Path) -> None:
    """The records of TensorBoard's event file hold every metric of every update."""
    from tensorboardX.proto.event_pb2 import Event

    content = b"".join(path.read_bytes() for path in (checkpoint.parent / "tracking").rglob("events.out.tfevents*"))
    found: dict[tuple[int, str], float] = {}
    while content:  # a record: length (8), its check sum (4), the event, its check sum (4)
        (length,) = struct.unpack("<Q", content[:8])
        event = Event.FromString(content[12 : 12 + length])
        found |= {(event.step, value.tag): value.simple_value for value in event.summary.value}
        content = content[16 + length :]

    for line in read_metrics(checkpoint):
        for name in ("reward", "loss", "kl_call", "grad_norm"):
            assert found[line["update"], name] == pytest.approx(line[name], rel=1e-5)


def test_trackers_that_are_not_there_are_refused(model: Path, checkpoint: Path) -> None:
    """Rather than passed over, as Accelerate does."""
    data = checkpoint.parents[1]
    for name, message in (("comet_ml", "cannot be imported"), ("nonsense", "log_with")):
        config = TrainConfig(data=data, model=model, log_with=name)
        vocabulary_size, max_length = read_limits(model)
        plan = make_plan(config, vocabulary_size=vocabulary_size, max_length=max_length)
        with pytest.raises(SettingsError, match=message):
            train(config, plan, RunReport("train run", {}))


def test_curves_are_drawn_for_the_terminal_and_as_a_picture(checkpoint: Path, tmp_path: Path) -> None:
    """First, last, least, largest; the picture is a PNG."""
    lines = [{"update": index + 1, "reward": value} for index, value in enumerate([0.25, 0.5, 1.0])]

    text = draw_text(choose_curves(lines, []), width=90)
    draw_picture(choose_curves(read_metrics(checkpoint), []), tmp_path / "curves.png")

    assert text.splitlines()[1].split() == ["reward", "0.25", "1", "0.25", "1", "▁▃█"]
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_a_metric_of_a_role_is_drawn_by_its_name() -> None:
    """An update in which the role did nothing is left out."""
    lines = [{"update": 1, "reward/planner": 0.5}, {"update": 2}, {"update": 3, "reward/planner": 1.0}]

    assert choose_curves(lines, ["reward/planner"]) == {"reward/planner": [0.5, 1.0]}


def test_a_metric_that_is_not_there_is_named(checkpoint: Path, tmp_path: Path) -> None:
    """With those that are; and a directory without metrics says so."""
    with pytest.raises(SettingsError, match="no metric rewards") as raised:
        choose_curves(read_metrics(checkpoint), ["rewards"])
    assert "reward_std" in str(raised.value.hint)

    (tmp_path / "metrics.jsonl").write_text(json.dumps({"update": 1})[:-3])
    with pytest.raises(SpanloopError, match="damaged"):
        read_metrics(tmp_path)
