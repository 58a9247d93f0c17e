"""Attention within packed sequences: many of them in one row, each seeing itself alone, nothing padded.

Registered with transformers under `PACKED`, so that whatever model asks the attention interface gets it. On a GPU in
half precision it is torch's variable-length FlashAttention; elsewhere causal attention of each sequence, those of equal
length together: linear in the row, where a block-diagonal mask over the row is quadratic. There sequences may share
what they begin with (`train.engine.sharing`): a row is then of segments that go on from one another.
"""

from collections.abc import Sequence as Many
from itertools import accumulate, groupby
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
    parents: Int[Tensor, " segment"] | None = None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    dropout: float = 0.0,
    **others: Any,  # noqa: ANN401 - whatever else a model passes on
) -> tuple[Float[Tensor, "one position head dim"], None]:
    """Let every token of a row see those before it in its own sequence, `sliding_window` back at most.

    `cu_seq_lens_q` holds where sequences begin and where the last one ends, `max_length_q` the longest length; without
    them every row is one sequence. With `parents` they are of segments, and a token sees the segments its own goes on
    from as well. Raises NotImplementedError where a model wants more of attention than that.
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
    if query.is_cuda and query.dtype in FLASH_DTYPES and parents is None:
        return _flash(query, key, value, cu_seq_lens_q, max_length_q, scaling, sliding_window), None
    lengths = cu_seq_lens_q.diff().tolist()
    starts = [-1] * len(lengths) if parents is None else parents.tolist()
    return _one_by_one(query, key, value, lengths, starts, scaling, sliding_window), None


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
    query: Tensor,
    key: Tensor,
    value: Tensor,
    lengths: list[int],
    parents: list[int],
    scaling: float | None,
    window: int | None,
) -> Tensor:
    """Attend segment by segment; neighbours of one length that go on from the same segment are taken together."""
    whole = {parent: _above(parents, parent) for parent in set(parents)}
    # Segments others go on from, each alone: asked for by many, cut out once.
    named = {index for above in whole.values() for index in above}
    runs = [
        (length, parent, len(list(run)))
        for (length, parent, _), run in groupby(
            zip(lengths, parents, (index if index in named else -1 for index in range(len(lengths))), strict=True)
        )
    ]
    sizes = [length * count for length, _, count in runs]
    first = accumulate((count for _, _, count in runs), initial=0)
    rows, seen = [], dict[int, tuple[Tensor, Tensor]]()
    for index, (length, parent, count), *parts in zip(
        first, runs, *(torch.split(tensor, sizes, dim=2) for tensor in (query, key, value)), strict=False
    ):
        if index in named:
            seen[index] = (parts[1], parts[2])
        batch = [part.squeeze(0).unflatten(1, (count, length)).transpose(0, 1) for part in parts]  # (run, head, L, dim)
        if parent >= 0:
            for side in (0, 1):
                above = torch.cat([seen[each][side] for each in whole[parent]], dim=2)
                batch[1 + side] = torch.cat([above.expand(count, -1, -1, -1), batch[1 + side]], dim=2)
        attended = _causal(batch, scaling, window)
        rows.append(attended.transpose(1, 2).flatten(0, 1))  # (run * L, head, dim)
    return torch.cat(rows).unsqueeze(0)


def _above(parents: list[int], segment: int) -> list[int]:
    """Return a segment and those it goes on from, the first one first."""
    path = []
    while segment >= 0:
        path.append(segment)
        segment = parents[segment]
    return path[::-1]


def _causal(parts: Many[Tensor], scaling: float | None, window: int | None) -> Tensor:
    """Let each query see the keys up to its own; the last query's is the last key."""
    query, key, value = parts  # (row, head, length, dim), keys perhaps longer
    length, num_keys = query.shape[2], key.shape[2]
    is_square = length == num_keys and (window is None or length <= window)
    mask = None if is_square else _banded(length, num_keys, window, query.device)
    return scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=mask,
        is_causal=mask is None,
        scale=scaling,
        enable_gqa=query.shape[1] != key.shape[1],
    )


def _banded(length: int, num_keys: int, window: int | None, device: torch.device) -> Bool[Tensor, "length key"]:
    own = torch.arange(num_keys - length, num_keys, device=device)
    behind = own[:, None] - torch.arange(num_keys, device=device)
    return (behind >= 0) if window is None else (behind >= 0) & (behind < window)
