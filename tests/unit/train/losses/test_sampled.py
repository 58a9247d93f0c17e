"""Sampled tokens: ratios that stay finite."""

import pytest
import torch

from tests.unit.train.losses.test_registry import Case, sampled
from train.losses.registry import LOSSES


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_a_hopeless_ratio_stays_finite(name: str) -> None:
    """A token the behavior policy all but excluded does not make the loss infinite."""
    batch = sampled([Case([0.0], [-500.0], [-500.0], -1.0, 0.0)])

    assert torch.isfinite(LOSSES[name].loss(batch, LOSSES[name].bounds).loss).all()
