"""Log-probabilities of sampled tokens. Only they pass through the language-model head, a bounded number at a time."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import Module

from train.engine.truncation import Kept, Limits, kept_tokens

LOGITS_PER_CHUNK = 1 << 24
"""Logits held at once: 64 MiB in float32, whatever the vocabulary. The backward pass computes them anew."""


def token_logprobs(
    hidden: Float[Tensor, "token hidden"],
    head: Module,
    targets: Int[Tensor, " token"],
    temperature: Float[Tensor, " token"],
    *,
    kept: Kept | None = None,
    logits_per_chunk: int = LOGITS_PER_CHUNK,
) -> tuple[Float[Tensor, " token"], Float[Tensor, " token"]]:
    """Return log-probability of each target and entropy of its distribution, both at the token's own temperature.

    With `kept` both are of the distribution over the kept set of the token.

    `hidden` is what the model makes of the token before, `head` a linear layer (`weight` of vocabulary x hidden, and
    perhaps `bias`). The entropy carries no gradient. Memory for logits is bounded by `logits_per_chunk`.
    """
    kind = hidden.device.type
    if torch.is_autocast_enabled(kind):
        hidden = hidden.to(torch.get_autocast_dtype(kind))
    arguments = (hidden, head.weight, head.bias, targets, temperature, kept, logits_per_chunk)
    logprobs, entropies = _Logprobs.apply(*arguments)  # type: ignore[no-untyped-call]
    return logprobs, entropies


@torch.no_grad()
def find_kept(
    hidden: Float[Tensor, "token hidden"],
    head: Module,
    targets: Int[Tensor, " token"],
    temperature: Float[Tensor, " token"],
    limits: Limits,
    *,
    logits_per_chunk: int = LOGITS_PER_CHUNK,
) -> Kept:
    """Return the set of tokens that sampling parameters left for each target, by these weights; empty for all."""
    kind = hidden.device.type
    if torch.is_autocast_enabled(kind):
        hidden = hidden.to(torch.get_autocast_dtype(kind))
    exact = torch.float64 if hidden.dtype == torch.float64 else torch.float32
    weight, bias = head.weight, head.bias
    assert isinstance(weight, Tensor)
    assert bias is None or isinstance(bias, Tensor)
    rows = max(1, logits_per_chunk // len(weight))
    used, parts = weight.to(hidden.dtype), []
    for begin in range(0, len(hidden), rows):
        chunk = slice(begin, begin + rows)
        logits = _logits(hidden[chunk], used, bias, temperature[chunk], exact)
        mask = kept_tokens(logits, limits[chunk], targets[chunk])
        parts.append(Kept.of(mask & limits[chunk].cuts[:, None]))
    if not parts:
        nothing = torch.zeros(0, dtype=torch.int64, device=hidden.device)
        return Kept(nothing, nothing.int())
    return Kept.joined(parts)


class _Logprobs(torch.autograd.Function):
    """Linear layer, temperature, log-softmax and choice of one id, chunk by chunk in both directions.

    Logits are computed in the precision of `hidden` and summed in float32 (float64 stays itself). The gradient of a
    chosen log-probability with respect to the logits is (one-hot - softmax) / temperature.
    """

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - autograd's
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        temperature: Tensor,
        kept: Kept | None,
        logits_per_chunk: int,
    ) -> tuple[Tensor, Tensor]:
        exact = torch.float64 if hidden.dtype == torch.float64 else torch.float32
        rows = max(1, logits_per_chunk // len(weight))
        logprobs = torch.empty(len(hidden), dtype=exact, device=hidden.device)
        log_sums, entropies = torch.empty_like(logprobs), torch.empty_like(logprobs)
        used = weight.to(hidden.dtype)
        for begin in range(0, len(hidden), rows):
            chunk = slice(begin, begin + rows)
            logits = _logits(hidden[chunk], used, bias, temperature[chunk], exact)  # (row, vocabulary)
            if kept is not None:
                kept[chunk].hide_others(logits)
            log_sum = logits.logsumexp(-1)
            log_sums[chunk] = log_sum
            logprobs[chunk] = logits.gather(-1, targets[chunk, None]).squeeze(-1) - log_sum
            probabilities = (logits - log_sum[:, None]).exp_()
            # A logit of minus infinity has probability 0 and no share in the entropy.
            entropies[chunk] = log_sum - probabilities.mul_(logits.clamp_(min=torch.finfo(exact).min)).sum(-1)
        ctx.save_for_backward(hidden, weight, bias, targets, temperature, log_sums)
        ctx.rows, ctx.kept = rows, kept
        ctx.mark_non_differentiable(entropies)
        return logprobs, entropies

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        hidden, weight, bias, targets, temperature, log_sums = ctx.saved_tensors
        used = weight.to(hidden.dtype)
        # Sums over many chunks: in the exact precision, or small contributions would be lost.
        grad_hidden = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        grad_weight = torch.zeros_like(weight, dtype=log_sums.dtype) if ctx.needs_input_grad[1] else None
        grad_bias = torch.zeros_like(bias, dtype=log_sums.dtype) if ctx.needs_input_grad[2] else None
        for begin in range(0, len(hidden), ctx.rows):
            chunk = slice(begin, begin + ctx.rows)
            logits = _logits(hidden[chunk], used, bias, temperature[chunk], log_sums.dtype)
            if ctx.kept is not None:
                ctx.kept[chunk].hide_others(logits)
            share = (grad[chunk] / temperature[chunk])[:, None]
            grad_logits = logits.sub_(log_sums[chunk, None]).exp_().mul_(-share)
            grad_logits.scatter_add_(-1, targets[chunk, None], share.to(grad_logits.dtype))
            if grad_bias is not None:
                grad_bias += grad_logits.sum(0)
            rounded = grad_logits.to(hidden.dtype)
            if grad_hidden is not None:
                grad_hidden[chunk] = rounded @ used
            if grad_weight is not None:
                if rounded.dtype == grad_weight.dtype:
                    grad_weight.addmm_(rounded.T, hidden[chunk])
                else:
                    grad_weight += rounded.T @ hidden[chunk]
        return (
            grad_hidden,
            None if grad_weight is None else grad_weight.to(weight.dtype),
            None if grad_bias is None else grad_bias.to(bias.dtype),
            None,
            None,
            None,
            None,
        )


def _logits(hidden: Tensor, weight: Tensor, bias: Tensor | None, temperature: Tensor, exact: torch.dtype) -> Tensor:
    logits = torch.nn.functional.linear(hidden, weight, None if bias is None else bias.to(hidden.dtype))
    return logits.to(exact).div_(temperature[:, None])
