"""Truncated sampling: which tokens top_p, top_k and min_p left to draw from, by the weights that sampled.

What was drawn is of the distribution over the kept tokens alone. A ratio between two policies is of two distributions
over the same set: both are renormalised on it, and what lies outside has no part in either. The set is that of the
weights that sampled, so it is computed once, before the first update, and holds for the whole run.
"""

from collections.abc import Sequence as Many
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from train.data.logged import Truncation


@dataclass(frozen=True)
class Limits:
    """Sampling parameters of each token; where nothing is cut they are 1, 0 and 0."""

    top_p: Float[Tensor, " token"]
    top_k: Int[Tensor, " token"]
    min_p: Float[Tensor, " token"]

    @classmethod
    def of(cls, truncations: Many[Truncation | None], *, device: torch.device) -> "Limits":
        """Return the parameters of each call, as tensors."""
        each = [one or Truncation() for one in truncations]
        return cls(
            torch.tensor([one.top_p for one in each], dtype=torch.float32, device=device),
            torch.tensor([one.top_k for one in each], dtype=torch.int64, device=device),
            torch.tensor([one.min_p for one in each], dtype=torch.float32, device=device),
        )

    def __getitem__(self, index: Int[Tensor, " token"] | slice) -> "Limits":
        """Return the parameters at places."""
        return Limits(self.top_p[index], self.top_k[index], self.min_p[index])

    @property
    def cuts(self) -> Bool[Tensor, " token"]:
        """Where anything is cut at all."""
        return (self.top_p < 1) | (self.top_k > 0) | (self.min_p > 0)


def kept_tokens(
    logits: Float[Tensor, "row vocabulary"], limits: Limits, sampled: Int[Tensor, " row"]
) -> Bool[Tensor, "row vocabulary"]:
    """Tell which tokens were left to draw from, given logits after temperature, in vLLM's order: min_p, top_k, top_p.

    Tokens as likely as the last one kept by top_k are kept. What was sampled was kept, whatever rounding between two
    engines says of a token at the edge.

    >>> limits = Limits.of([Truncation(top_k=2), Truncation(top_p=0.6)], device=torch.device("cpu"))
    >>> kept_tokens(torch.tensor([[0.5, 0.3, 0.2]] * 2).log(), limits, torch.tensor([0, 2])).tolist()
    [[True, True, False], [True, True, True]]
    """
    logits = logits.float()
    probabilities = logits.softmax(-1)
    dropped = probabilities < limits.min_p[:, None] * probabilities.amax(-1, keepdim=True)
    logits = logits.masked_fill(dropped, -torch.inf)
    descending, order = logits.sort(dim=-1, descending=True, stable=True)
    size = logits.shape[-1]
    last = torch.where(limits.top_k > 0, limits.top_k.clamp(max=size), size) - 1
    descending = descending.masked_fill(descending < descending.gather(-1, last[:, None]), -torch.inf)
    probabilities = descending.softmax(-1)
    before = probabilities.cumsum(-1) - probabilities
    stays = (descending > -torch.inf) & ((before < limits.top_p[:, None]) | (limits.top_p[:, None] >= 1))
    kept = torch.zeros_like(stays).scatter_(-1, order, stays)
    return kept.scatter_(-1, sampled[:, None], True)


@dataclass(frozen=True)
class Kept:
    """The kept set of each token, one after the other; an empty one means that all tokens were left."""

    sizes: Int[Tensor, " token"]
    ids: Int[Tensor, " kept"]

    @classmethod
    def of(cls, mask: Bool[Tensor, "token vocabulary"]) -> "Kept":
        """Pack the sets of a mask."""
        rows, ids = mask.nonzero(as_tuple=True)
        return cls(torch.bincount(rows, minlength=len(mask)), ids.int())

    @classmethod
    def joined(cls, parts: Many["Kept"]) -> "Kept":
        """Return the sets of several, one after the other."""
        return cls(torch.cat([part.sizes for part in parts]), torch.cat([part.ids for part in parts]))

    def __getitem__(self, index: slice | Int[Tensor, " token"]) -> "Kept":
        """Return the sets at places."""
        ends = self.sizes.cumsum(0)
        sizes, begins = self.sizes[index], (ends - self.sizes)[index]
        within = torch.arange(int(sizes.sum()), device=sizes.device) - torch.repeat_interleave(
            sizes.cumsum(0) - sizes, sizes
        )
        return Kept(sizes, self.ids[torch.repeat_interleave(begins, sizes) + within])

    def hide_others(self, logits: Float[Tensor, "token vocabulary"]) -> Float[Tensor, "token vocabulary"]:
        """Set the logits of what was not kept to minus infinity, in place."""
        cut = self.sizes > 0
        if not bool(cut.any()):
            return logits
        hidden = cut[:, None].expand(logits.shape).clone()
        rows = torch.repeat_interleave(torch.arange(len(logits), device=logits.device), self.sizes)
        hidden[rows, self.ids.long()] = False
        return logits.masked_fill_(hidden, -torch.inf)
