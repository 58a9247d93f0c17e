"""Sequences to micro-batches: laid end to end in one row, as many as a budget of tokens allows. Nothing is padded."""

from collections.abc import Sequence as Many
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from train.data.lineage import UNTRAINED, Sequence
from train.engine.truncation import Kept


@dataclass(frozen=True)
class MicroBatch:
    """The sequences of one forward pass, and where their trained tokens are."""

    input_ids: Int[Tensor, "one position"]
    position_ids: Int[Tensor, "one position"]
    """Position of each token in its own sequence."""

    boundaries: Int[Tensor, " boundary"]
    """Where each sequence begins in the row, and where the last one ends; int32, as attention kernels want it."""

    longest: int
    """Length of the longest sequence."""

    at: Int[Tensor, " token"]
    """Position in the row of the token before each trained one: there the model predicts it."""

    targets: Int[Tensor, " token"]
    calls: Int[Tensor, " token"]
    """Index of the call each trained token belongs to."""

    behavior_logprobs: Float[Tensor, " token"]
    advantages: Float[Tensor, " token"]
    temperature: Float[Tensor, " token"]

    kept: Kept | None = None
    """What was left to sample each trained token from; null where nothing was cut."""

    @property
    def inputs(self) -> tuple[Tensor, Tensor, Tensor, int, Tensor, Tensor, Tensor, Kept | None]:
        """What `train.engine.policy.SampledTokens` takes."""
        return (
            self.input_ids,
            self.position_ids,
            self.boundaries,
            self.longest,
            self.at,
            self.targets,
            self.temperature,
            self.kept,
        )


def plan_batches(lengths: Many[int], tokens_per_batch: int) -> list[list[int]]:
    """Group indices so that no batch exceeds the budget of tokens; a longer sequence gets a batch to itself.

    First fit, longest first, equal lengths in the order given (at most 11/9 of the batches the best grouping needs).
    The first batch holds the longest sequence: it shows whether memory suffices.

    >>> plan_batches([3, 9, 4, 20], 18)
    [[3], [1, 2, 0]]
    """
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    batches: list[list[int]] = []
    room: list[int] = []
    for index in order:
        fitting = next((batch for batch, free in enumerate(room) if free >= lengths[index]), None)
        if fitting is None:
            batches.append([index])
            room.append(tokens_per_batch - lengths[index])
        else:
            batches[fitting].append(index)
            room[fitting] -= lengths[index]
    return batches


def collate(
    sequences: Many[Sequence],
    temperature: NDArray[np.float64],
    advantages: NDArray[np.float64],
    *,
    device: torch.device,
) -> MicroBatch:
    """Lay sequences end to end; `temperature` and `advantages` are of each call.

    A trained token at position 0 has nothing before it to be predicted from and is left out; no call has an empty
    prompt, so none is there.
    """
    lengths = np.array([len(sequence.ids) for sequence in sequences])
    boundaries = np.concatenate([[0], np.cumsum(lengths)])
    ids = np.concatenate([sequence.ids for sequence in sequences])
    calls = np.concatenate([sequence.call for sequence in sequences])
    logprobs = np.concatenate([sequence.behavior_logprobs for sequence in sequences])
    positions = np.arange(len(ids)) - np.repeat(boundaries[:-1], lengths)
    trained = np.flatnonzero((calls != UNTRAINED) & (positions > 0))
    token_calls = calls[trained]

    def flat(values: NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(values).to(device)

    return MicroBatch(
        input_ids=flat(ids.astype(np.int64))[None],
        position_ids=flat(positions.astype(np.int64))[None],
        boundaries=flat(boundaries.astype(np.int32)),
        longest=int(lengths.max()),
        at=flat(trained - 1),
        targets=flat(ids[trained].astype(np.int64)),
        calls=flat(token_calls),
        behavior_logprobs=flat(logprobs[trained]),
        advantages=flat(advantages[token_calls].astype(np.float32)),
        temperature=flat(temperature[token_calls].astype(np.float32)),
    )
