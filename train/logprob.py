"""Log-probabilities of sampled tokens. Only they pass through the language-model head, a bounded number at a time."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import Module
from torch.utils.checkpoint import checkpoint

LOGITS_PER_CHUNK = 1 << 26
"""Logits held at once: 256 MiB in float32, whatever the vocabulary. More tokens are recomputed in the backward pass."""


def token_logprobs(
    hidden: Float[Tensor, "token hidden"],
    head: Module,
    targets: Int[Tensor, " token"],
    temperature: Float[Tensor, " token"],
    *,
    vocabulary_size: int,
    logits_per_chunk: int = LOGITS_PER_CHUNK,
) -> tuple[Float[Tensor, " token"], Float[Tensor, " token"]]:
    """Return log-probability of each target and entropy of its distribution, both at the token's own temperature.

    `hidden` is what the model makes of the token before. The entropy carries no gradient. Memory is bounded by
    `logits_per_chunk`: beyond one chunk, the backward pass computes the logits anew.
    """
    rows = max(1, logits_per_chunk // vocabulary_size)
    if len(hidden) <= rows:
        return _chunk(head, hidden, targets, temperature)
    chunks = [
        checkpoint(_chunk, head, *chunk, use_reentrant=False)
        for chunk in zip(*(torch.split(flat, rows) for flat in (hidden, targets, temperature)), strict=True)
    ]
    logprobs, entropies = zip(*chunks, strict=True)
    return torch.cat(logprobs), torch.cat(entropies)


def _chunk(
    head: Module,
    hidden: Float[Tensor, "token hidden"],
    targets: Int[Tensor, " token"],
    temperature: Float[Tensor, " token"],
) -> tuple[Float[Tensor, " token"], Float[Tensor, " token"]]:
    logits = head(hidden)
    # Half precision is too coarse for the sum of exponentials; double stays double.
    logits = logits if logits.dtype == torch.float64 else logits.float()
    distribution = torch.log_softmax(logits / temperature[:, None], dim=-1)  # (token, vocabulary)
    logprobs = distribution.gather(-1, targets[:, None]).squeeze(-1)
    with torch.no_grad():
        entropies = -(distribution.exp() * distribution).sum(-1)
    return logprobs, entropies
