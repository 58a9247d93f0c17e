"""How far a run may go, and the way back to where it may be."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from train.gate.distance import CLOSE_ENOUGH, call_budget, copy_weights, go_along, go_back, set_weights

ALLOWED = 0.25


class Standing:
    """A policy of one weight, as far from home as a function of it says; it stands at 1."""

    def __init__(self, distance: Callable[[float], float]) -> None:
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.learner: Any = SimpleNamespace(weights=[self.weight])
        self.distance = distance
        self.num_measured = 0

    def measure(self) -> float:
        self.num_measured += 1
        return self.distance(float(self.weight.detach()))

    def go_back(self) -> tuple[float, float]:
        found = self.distance(1.0)
        return go_back(
            self.learner, [torch.zeros(1)], self.measure, began=self.distance(0.0), found=found, allowed=ALLOWED
        )


@pytest.mark.parametrize(
    "distance",
    [
        lambda way: way**2,
        lambda way: 100 * way**2,
        lambda way: 1e6 * way**4,
        lambda way: math.nan if way > 0.3 else way**2,
        lambda way: math.inf if way > 1e-3 else way,
        lambda way: math.expm1(9 * way),
    ],
)
def test_a_run_stands_where_it_was_measured_to_be_within(distance: Callable[[float], float]) -> None:
    """Whatever the shape of the way; nothing that is not a number is ever within."""
    standing = Standing(distance)

    share, reached = standing.go_back()

    assert reached <= ALLOWED
    assert float(standing.weight.detach()) == pytest.approx(share)
    assert distance(share) == pytest.approx(reached)
    assert standing.num_measured <= 6


def test_most_of_what_is_allowed_is_kept() -> None:
    """A distance grows with the square of the way, so one measurement does."""
    standing = Standing(lambda way: way**2)

    share, reached = standing.go_back()

    assert reached >= CLOSE_ENOUGH * ALLOWED
    assert share == pytest.approx(math.sqrt(0.9 * ALLOWED))
    assert standing.num_measured == 1


def test_a_way_of_which_nothing_can_be_kept_leads_home() -> None:
    """To the very weights it began with."""
    standing = Standing(lambda way: math.nan if way else 0.0)

    assert standing.go_back() == (0.0, 0.0)
    assert float(standing.weight.detach()) == 0.0


def test_weights_are_copied_and_set_to_points_of_a_line() -> None:
    """The beginning exactly; a copy does not move with them."""
    standing = Standing(lambda way: way)
    (end,) = copy_weights(standing.learner)

    set_weights(standing.learner, [torch.zeros(1)], [end], 0.25)
    assert float(standing.weight.detach()) == 0.25
    set_weights(standing.learner, [torch.full((1,), 0.1)], [end], 0.0)
    assert torch.equal(standing.weight.detach(), torch.full((1,), 0.1))
    assert float(end) == 1.0


def test_the_budget_of_a_long_call_grows_with_the_root_of_its_length() -> None:
    """Four times the tokens, twice the budget; short ones have what the settings say."""
    assert call_budget(0.5, 4 * 128) == 2 * call_budget(0.5, 128)
    assert call_budget(0.5, 1) == 0.5


@dataclass
class Point:
    """Stands for a learner: one weight, at a distance of its square from 0, not finite from 1000 on."""

    weight: torch.nn.Parameter = field(default_factory=lambda: torch.nn.Parameter(torch.zeros(1, dtype=torch.float64)))
    accelerator: Accelerator = field(default_factory=lambda: Accelerator(cpu=True))
    measured: int = 0

    @property
    def weights(self) -> list[torch.Tensor]:
        return [self.weight]

    def measure(self) -> float:
        self.measured += 1
        place = abs(float(self.weight.detach()))
        return place**2 if place < 1000 else math.nan


@pytest.mark.parametrize("reach", [1e-9, 1e-4, 0.5, 30.0])
@pytest.mark.parametrize("began", [0.0, 0.25])
def test_a_line_is_gone_along_to_what_is_allowed(reach: float, began: float) -> None:
    """From a first reach far too short or too long, and from a place that is a way off already."""
    point, start = Point(), [torch.tensor([math.sqrt(began)], dtype=torch.float64)]

    found, distance = go_along(
        point, start, [torch.ones(1, dtype=torch.float64)], point.measure, began=began, reach=reach, allowed=0.5
    )

    assert CLOSE_ENOUGH * 0.5 <= distance <= 0.5
    assert point.measure() == pytest.approx(distance)
    assert float(point.weight.detach()) == pytest.approx(math.sqrt(began) + found)
    assert point.measured <= 20


def test_a_line_on_which_nothing_is_within_is_not_gone() -> None:
    """Wherever it leads is not finite: the weights are those of the start."""
    point, start = Point(), [torch.tensor([0.1], dtype=torch.float64)]

    found, distance = go_along(
        point,
        start,
        [torch.tensor([math.inf], dtype=torch.float64)],
        point.measure,
        began=0.01,
        reach=0.01,
        allowed=0.5,
    )

    assert (found, distance) == (0, 0.01)
    assert point.weight.tolist() == [0.1]


def test_from_beyond_all_measure_it_finds_the_way_back() -> None:
    """The first reach is not finite; what is kept is within, if not all that is allowed."""
    point = Point()
    line = [torch.ones(1, dtype=torch.float64)]

    _, distance = go_along(
        point, [torch.zeros(1, dtype=torch.float64)], line, point.measure, began=0.0, reach=1e7, allowed=0.5
    )

    assert 0 < distance <= 0.5
    assert point.measure() == pytest.approx(distance)
