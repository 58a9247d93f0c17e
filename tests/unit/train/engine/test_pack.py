"""Packing: every trained token where the model predicts it."""

import numpy as np
import torch

from tests.unit.train.calls import call
from train.data.lineage import build_sequences
from train.engine.pack import collate


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


def test_what_sequences_begin_with_stands_there_once() -> None:
    """Two attempts at a prompt that begin alike too: both first tokens are predicted from the end of the one prompt."""
    prompt = list(range(100, 140))
    sequences = build_sequences([call(prompt, [1, 2]), call(prompt, [1, 3], episode=1), call([5], [6], episode=2)])

    batch = collate(sequences, np.ones(3), np.ones(3), device=torch.device("cpu"), shared=True)

    assert batch.input_ids.tolist() == [[5, 6, *prompt, 1, 2, 3]]
    assert batch.position_ids.tolist() == [[0, 1, *range(41), 41, 41]]
    assert batch.boundaries.tolist() == [0, 2, 43, 44, 45]
    assert batch.parents is not None
    assert batch.parents.tolist() == [-1, -1, 1, 1]
    assert batch.at.tolist() == [41, 42, 41, 42, 0]
    assert batch.targets.tolist() == [1, 2, 1, 3, 6]
    assert batch.calls.tolist() == [0, 0, 1, 1, 2]
