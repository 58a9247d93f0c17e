"""Attention within packed sequences: many of them in one row, each seeing itself alone, nothing padded.

Registered with transformers under `PACKED`, so that whatever model asks the attention interface gets it. On a GPU in
half precision it is torch's variable-length FlashAttention; elsewhere causal attention of each sequence, those of equal
length together: linear in the row, where a block-diagonal mask over the row is quadratic.
"""

from collections.abc import Sequence as Many
from itertools import groupby
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import Module
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

PACKED = "spanloop_packed"
"""Name of the implementation, as `set_attn_implementation` takes it."""

FLASH_DTYPES = (torch.bfloat16, torch.float16)

UNSUPPORTED = ("softcap", "s_aux", "position_bias", "cache")
"""What some architectures ask of attention and this one does not do."""


def packed_attention(
    module: Module,
    query: Float[Tensor, "one head position dim"],
    key: Float[Tensor, "one key_head position dim"],
    value: Float[Tensor, "one key_head position dim"],
    attention_mask: Tensor | None,  # noqa: ARG001 - transformers makes no mask for an implementation of one's own
    *,
    cu_seq_lens_q: Int[Tensor, " boundary"] | None = None,
    max_length_q: int | None = None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    dropout: float = 0.0,
    **others: Any,  # noqa: ANN401 - whatever else a model passes on
) -> tuple[Float[Tensor, "one position head dim"], None]:
    """Let every token of a row see those before it in its own sequence, `sliding_window` back at most.

    `cu_seq_lens_q` holds where sequences begin and where the last one ends, `max_length_q` the longest length; without
    them every row is one sequence. Raises NotImplementedError where a model wants more of attention than that.
    """
    wanted = [name for name in UNSUPPORTED if others.get(name) is not None]
    if wanted or dropout or getattr(module, "is_causal", True) is False:
        raise NotImplementedError(f"packed attention has no {', '.join(wanted) or 'dropout or look ahead'}")
    query, key, value = _in_one_precision(query, key, value)
    if cu_seq_lens_q is None:
        if query.shape[2] != key.shape[2]:
            raise NotImplementedError("packed attention has no cache")
        return _causal((query, key, value), scaling, sliding_window).transpose(1, 2), None
    assert max_length_q is not None
    if query.is_cuda and query.dtype in FLASH_DTYPES:
        return _flash(query, key, value, cu_seq_lens_q, max_length_q, scaling, sliding_window), None
    return _one_by_one(query, key, value, cu_seq_lens_q.diff().tolist(), scaling, sliding_window), None


AttentionInterface.register(PACKED, packed_attention)


def _in_one_precision(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Cast to autocast's precision where it is on: norms hand float32 to attention, and kernels want all alike."""
    kind = tensors[0].device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else tensors[-1].dtype
    return tuple(tensor.to(dtype) for tensor in tensors)


def _flash(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    boundaries: Tensor,
    longest: int,
    scaling: float | None,
    window: int | None,
) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    q, k, v = (tensor.squeeze(0).transpose(0, 1) for tensor in (query, key, value))  # (position, head, dim)
    seen = -1 if window is None else window - 1
    attended = varlen_attn(
        q, k, v, boundaries, boundaries, longest, longest, scale=scaling, window_size=(seen, 0), enable_gqa=True
    )
    assert isinstance(attended, Tensor)
    return attended.unsqueeze(0)


def _one_by_one(
    query: Tensor, key: Tensor, value: Tensor, lengths: list[int], scaling: float | None, window: int | None
) -> Tensor:
    runs = [(length, len(list(run))) for length, run in groupby(lengths)]
    sizes = [length * count for length, count in runs]
    rows = []
    for (length, count), *parts in zip(
        runs, *(torch.split(tensor, sizes, dim=2) for tensor in (query, key, value)), strict=True
    ):
        batch = [part.squeeze(0).unflatten(1, (count, length)).transpose(0, 1) for part in parts]  # (run, head, L, dim)
        attended = _causal(batch, scaling, window)
        rows.append(attended.transpose(1, 2).flatten(0, 1))  # (run * L, head, dim)
    return torch.cat(rows).unsqueeze(0)


def _causal(parts: Many[Tensor], scaling: float | None, window: int | None) -> Tensor:
    query, key, value = parts  # (row, head, length, dim)
    length = query.shape[2]
    mask = None if window is None or length <= window else _banded(length, window, query.device)
    return scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=mask,
        is_causal=mask is None,
        scale=scaling,
        enable_gqa=query.shape[1] != key.shape[1],
    )


def _banded(length: int, window: int, device: torch.device) -> Bool[Tensor, "length length"]:
    behind = torch.arange(length, device=device)[:, None] - torch.arange(length, device=device)
    return (behind >= 0) & (behind < window)
