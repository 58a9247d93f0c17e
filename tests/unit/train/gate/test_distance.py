"""How far a run may go, and the way back to where it may be."""

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from train.gate.distance import CLOSE_ENOUGH, call_budget, copy_weights, go_back, set_weights

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
