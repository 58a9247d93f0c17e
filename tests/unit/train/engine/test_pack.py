"""Packing: every sequence once, no batch over budget, every trained token where the model predicts it."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.train.calls import call
from train.data.lineage import build_sequences
from train.engine.pack import collate, plan_batches


@given(st.lists(st.integers(1, 50), max_size=40), st.integers(1, 120))
def test_batches_hold_every_sequence_once_within_the_budget(lengths: list[int], budget: int) -> None:
    """Only a sequence longer than the budget exceeds it, and then alone."""
    batches = plan_batches(lengths, budget)

    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or sum(lengths[index] for index in batch) <= budget


@given(st.lists(st.integers(1, 50), min_size=1, max_size=40), st.integers(50, 120))
def test_batches_are_well_filled(lengths: list[int], budget: int) -> None:
    """No two of them would fit into one."""
    batches = plan_batches(lengths, budget)

    filled = sorted(sum(lengths[index] for index in batch) for batch in batches)
    assert len(filled) == 1 or filled[0] + filled[1] > budget


def test_a_trained_token_is_predicted_from_the_one_before_it() -> None:
    """Two sequences of unequal length, worked by hand."""
    sequences = build_sequences([call([1, 2], [3, 4], temperature=0.5), call([5], [6], episode=1)])

    batch = collate(sequences, np.array([0.5, 1.0]), np.array([2.0, -1.0]), device=torch.device("cpu"))

    assert batch.input_ids.tolist() == [[1, 2, 3, 4, 5, 6]]
    assert batch.position_ids.tolist() == [[0, 1, 2, 3, 0, 1]]
    assert batch.boundaries.tolist() == [0, 4, 6]
    assert batch.longest == 4
    assert batch.at.tolist() == [1, 2, 4]
    assert batch.targets.tolist() == [3, 4, 6]
    assert batch.calls.tolist() == [0, 0, 1]
    assert batch.advantages.tolist() == [2.0, 2.0, -1.0]
    assert batch.temperature.tolist() == [0.5, 0.5, 1.0]
