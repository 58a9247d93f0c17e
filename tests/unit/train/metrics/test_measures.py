"""Metrics: numbers worked out by hand, names that are documented, and trackers that get what the file gets."""

import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from train.metrics.curves import read_metrics
from train.metrics.measures import (
    METRICS,
    ROWS,
    describe_roles,
    describe_staleness,
    describe_tokens,
    describe_values,
    is_metric,
)

DOCS = Path(__file__).parents[4] / "docs" / "training.md"


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
