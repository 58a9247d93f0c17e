"""Curves for a terminal and as a picture."""

import json
from pathlib import Path

import pytest

from foundation.errors import SettingsError, SpanloopError
from train.metrics.curves import choose_curves, draw_picture, draw_text, read_metrics


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
