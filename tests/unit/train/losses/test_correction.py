"""Corrections for stale calls: against the formulas written out by hand, call by call."""

import math

import pytest
import torch

from train.losses.correction import decouple
from train.losses.sampled import Sampled

LOG_RHO = {0: [0.1, -0.1], 1: [1.0, 0.2], 2: [-2.0]}
"""Of three calls: near home, likelier now, all but forgotten."""

CAP = 2.0


def stale() -> Sampled:
    """Return the calls with a reference that lies LOG_RHO above the behavior policy."""
    flat = torch.tensor([value for values in LOG_RHO.values() for value in values], dtype=torch.float64)
    calls = torch.tensor([call for call, values in LOG_RHO.items() for _ in values])
    return Sampled(torch.full_like(flat, -1.5), -2 - flat, torch.ones_like(flat), calls, torch.full_like(flat, -2.0))


def weights(correction: str) -> list[float]:
    return decouple(stale(), correction, CAP)[1].tolist()


def test_the_ratio_is_to_the_reference_and_the_advantage_stays() -> None:
    """Decoupled: what lies before the reference is in the weight, and in it alone."""
    decoupled, _ = decouple(stale(), "token_truncate", CAP)

    assert decoupled.log_ratio().tolist() == pytest.approx([0.5] * 5)
    assert decoupled.advantages.tolist() == [1.0] * 5


def test_nothing_to_correct_leaves_everything_as_it_is() -> None:
    """The ratio goes straight to the behavior policy."""
    before = stale()
    after, weight = decouple(before, "none", CAP)

    assert after is before
    assert weight.tolist() == [1.0] * 5


def test_truncation_bounds_the_weight_of_a_token_or_of_a_call() -> None:
    """min(rho, 2), and min(product of rho, 2)."""
    e = math.exp
    assert weights("token_truncate") == pytest.approx([e(0.1), e(-0.1), 2, e(0.2), e(-2)])
    assert weights("call_truncate") == pytest.approx([1, 1, 2, 2, e(-2)])


def test_masks_leave_out_what_is_too_far() -> None:
    """By token, by product, and by geometric mean, alike for short calls and long ones; no weight above the cap."""
    e = math.exp
    assert weights("token_mask") == pytest.approx([e(0.1), e(-0.1), 0, e(0.2), 0])
    assert weights("call_mask") == pytest.approx([1, 1, 0, 0, 0])
    assert weights("call_band") == pytest.approx([e(0.1), e(-0.1), 2, e(0.2), 0])
