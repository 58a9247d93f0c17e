"""Curves of a training: what is drawn first, and that nothing odd in a file stops the rest."""

import json
from pathlib import Path

import pytest

from spanloop.page.views.training import MOST_OVERLAID, metric_names, newest, points, series, show
from spanloop.page.visit import NotThere
from tests.unit.spanloop.page.visiting import see


def trained(data: Path, name: str, *updates: str) -> None:
    path = data / "checkpoints" / name
    path.mkdir(parents=True)
    (path / "manifest.json").write_text("{}")
    (path / "metrics.jsonl").write_text("\n".join(updates))


def test_what_people_look_at_first_is_drawn_first() -> None:
    """Then the others by name; what is drawn elsewhere, says where it stands or is no number is none of them."""
    updates = [
        {"update": 1, "epoch": 0, "zeta": 1, "loss": 0.5, "log_ratio_p01": 0.1, "staleness/0": 1.0, "why": "x"},
        {"reward": 1.0, "alpha": 2, "is_last": True},
    ]

    assert metric_names(updates) == ["reward", "loss", "alpha", "zeta"]


def test_an_update_without_its_number_stands_at_its_place() -> None:
    """One that lacks the metric is left out."""
    updates = [{"update": 5, "loss": 1}, {"loss": None}, {"update": True, "loss": 2.5}, {"loss": False}]

    assert points(updates, "loss") == [(5.0, 1.0), (3.0, 2.5)]


def test_others_are_drawn_beside_it_up_to_a_few(tmp_path: Path) -> None:
    """Itself once, and what is no training not at all."""
    names = [f"c{number}" for number in range(MOST_OVERLAID + 2)]
    for name in names:
        trained(tmp_path, name, '{"update": 1, "loss": 0.5}', "no json", "[1]")
    beside = "&".join(f"with={name}" for name in ("c0", "none", *names[1:]))

    seen = see(
        series, f"/training/c0/series?metric=loss&{beside}", route="/training/{checkpoint}/series", data=tmp_path
    )

    drawn = json.loads(seen.body)["series"]
    assert set(drawn) == {"c0", "c1", "c2", "c3"}
    assert drawn["c0"] == [[1.0, 0.5]]


def test_a_training_that_is_none_is_not_there(tmp_path: Path) -> None:
    """Nor is any before the first; afterwards the newest is led to."""
    route = "/training/{checkpoint}"
    with pytest.raises(NotThere, match="no checkpoint c0"):
        see(show, "/training/c0", route=route, data=tmp_path)
    assert see(newest, "/training", data=tmp_path).status == 200
    trained(tmp_path, "c0")

    assert "c0" in see(show, "/training/c0", route=route, data=tmp_path).text
