"""Sequences to micro-batches: laid end to end in one row, what they share once. Nothing is padded."""

from collections.abc import Sequence as Many
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from train.data.lineage import UNTRAINED, Sequence
from train.engine.sharing import lay_out
from train.engine.truncation import Kept


@dataclass(frozen=True)
class MicroBatch:
    """The sequences of one forward pass, and where their trained tokens are predicted from."""

    input_ids: Int[Tensor, "one position"]
    position_ids: Int[Tensor, "one position"]
    """Position of each token in its own sequence."""

    boundaries: Int[Tensor, " boundary"]
    """Where each sequence begins in the row, and where the last one ends; int32, as attention kernels want it."""

    longest: int
    """Length of the longest of them."""

    parents: Int[Tensor, " segment"] | None
    """Where sequences share beginnings: `boundaries` are those of segments, and this is which one each goes on from, -1
    for none. Null where every sequence stands there whole."""

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
    def inputs(self) -> tuple[Tensor, Tensor, Tensor, int, Tensor, Tensor, Tensor, Tensor | None, Kept | None]:
        """What `train.engine.policy.SampledTokens` takes."""
        return (
            self.input_ids,
            self.position_ids,
            self.boundaries,
            self.longest,
            self.at,
            self.targets,
            self.temperature,
            self.parents,
            self.kept,
        )


def collate(
    sequences: Many[Sequence],
    temperature: NDArray[np.float64],
    advantages: NDArray[np.float64],
    *,
    device: torch.device,
    shared: bool = False,
) -> MicroBatch:
    """Lay sequences end to end; `temperature` and `advantages` are of each call.

    With `shared`, what several begin with is there once. A trained token at position 0 has nothing before it to be
    predicted from and is left out; no call has an empty prompt, so none is there.
    """
    layout = lay_out([sequence.ids for sequence in sequences], shared=shared)
    ids = np.concatenate([sequence.ids for sequence in sequences])
    calls = np.concatenate([sequence.call for sequence in sequences])
    logprobs = np.concatenate([sequence.behavior_logprobs for sequence in sequences])
    before = np.concatenate([np.concatenate([[-1], places[:-1]]) for places in layout.places])
    trained = np.flatnonzero((calls != UNTRAINED) & (before >= 0))
    token_calls = calls[trained]

    def flat(values: NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(values).to(device)

    return MicroBatch(
        input_ids=flat(layout.ids.astype(np.int64))[None],
        position_ids=flat(layout.positions.astype(np.int64))[None],
        boundaries=flat(layout.boundaries.astype(np.int32)),
        longest=int(np.diff(layout.boundaries).max()),
        parents=flat(layout.parents) if (layout.parents >= 0).any() else None,
        at=flat(before[trained]),
        targets=flat(ids[trained].astype(np.int64)),
        calls=flat(token_calls),
        behavior_logprobs=flat(logprobs[trained]),
        advantages=flat(advantages[token_calls].astype(np.float32)),
        temperature=flat(temperature[token_calls].astype(np.float32)),
    )
