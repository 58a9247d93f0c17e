"""Sequences to micro-batches: sorted by length, as many to a forward pass as a budget of tokens allows."""

from collections.abc import Sequence as Many
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from train.lineage import UNTRAINED, Sequence


@dataclass(frozen=True)
class MicroBatch:
    """Right-padded sequences of one forward pass, and where their trained tokens are."""

    input_ids: Int[Tensor, "sequence position"]
    attention_mask: Int[Tensor, "sequence position"]
    at: Int[Tensor, " token"]
    """Flat position (row * width + column) of the token before each trained one: there the model predicts it."""

    targets: Int[Tensor, " token"]
    calls: Int[Tensor, " token"]
    """Index of the call each trained token belongs to."""

    behavior_logprobs: Float[Tensor, " token"]
    advantages: Float[Tensor, " token"]
    temperature: Float[Tensor, " token"]


def plan_batches(lengths: Many[int], tokens_per_batch: int) -> list[list[int]]:
    """Group indices so that no batch, padded to its longest, exceeds the budget; a longer one gets a batch to itself.

    Longest first, equal lengths in the order given: the first batch shows whether memory suffices.

    >>> plan_batches([3, 9, 4, 20], 18)
    [[3], [1, 2], [0]]
    """
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    batches: list[list[int]] = []
    for index in order:
        widest = lengths[batches[-1][0]] if batches else 0
        if batches and widest * (len(batches[-1]) + 1) <= tokens_per_batch:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def collate(
    sequences: Many[Sequence],
    temperature: NDArray[np.float64],
    advantages: NDArray[np.float64],
    *,
    device: torch.device,
) -> MicroBatch:
    """Pad sequences to the longest among them; `temperature` and `advantages` are of each call.

    A trained token at position 0 has nothing before it to be predicted from and is left out; no call has an empty
    prompt, so none is there.
    """
    width = max(len(sequence.ids) for sequence in sequences)
    ids = np.zeros((len(sequences), width), dtype=np.int64)
    mask = np.zeros_like(ids)
    calls = np.full_like(ids, UNTRAINED)
    logprobs = np.zeros(ids.shape, dtype=np.float32)
    for row, sequence in enumerate(sequences):
        length = len(sequence.ids)
        ids[row, :length] = sequence.ids
        mask[row, :length] = 1
        calls[row, :length] = sequence.call
        logprobs[row, :length] = sequence.behavior_logprobs
    calls[:, 0] = UNTRAINED
    trained = np.flatnonzero(calls.ravel() != UNTRAINED)
    token_calls = calls.ravel()[trained]
    return MicroBatch(
        input_ids=torch.from_numpy(ids).to(device),
        attention_mask=torch.from_numpy(mask).to(device),
        at=torch.from_numpy(trained - 1).to(device),
        targets=torch.from_numpy(ids.ravel()[trained]).to(device),
        calls=torch.from_numpy(token_calls).to(device),
        behavior_logprobs=torch.from_numpy(logprobs.ravel()[trained]).to(device),
        advantages=torch.from_numpy(advantages[token_calls].astype(np.float32)).to(device),
        temperature=torch.from_numpy(temperature[token_calls].astype(np.float32)).to(device),
    )
