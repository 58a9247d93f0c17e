"""Keys and values of what was read already: of the rows in flight, and of prompts and answers that may come again.

Rows stand under each other and end in the same column, so that the token they are at is one column for all. The buffers
have room to grow, in rows and in columns; a row that leaves gives its place to the last one.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.cache_utils import Cache, DynamicLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

GROUPED = "spanloop_grouped"
"""Name of the attention in which heads that share keys are asked together, as `set_attn_implementation` takes it."""

MORE_COLUMNS = 64
"""Columns a buffer gets beyond what is asked for, and a quarter of that more."""

REMEMBERED_BYTES = 256 << 20
"""Most that is kept of prompts and answers whose rows have ended."""

REMEMBERED_TEXTS = 256
"""Most texts, however small: each is compared with every prompt that comes."""

SHORTEST_PREFIX = 8
"""Tokens below which what two prompts have in common is not worth looking up."""


class GrowingLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values of one layer, (row, head, column, dim), in buffers with room."""

    def __init__(self, **_: Any) -> None:  # noqa: ANN401 - what transformers hands over
        super().__init__()
        self._buffers: list[Tensor] = []
        self._begin = self._end = self._num_rows = 0

    @classmethod
    def holding(cls, keys: Tensor, values: Tensor) -> "GrowingLayer":
        """Return a layer with these keys and values, (row, head, column, dim) both."""
        layer = cls()
        layer._take(keys, values)
        return layer

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:  # noqa: ANN401
        """Add the columns of new tokens and return all."""
        if not self._buffers:
            self._take(key_states, value_states)
        else:
            begin = self._end
            self.reserve(num_rows=self._num_rows, width=self._end - self._begin, more=key_states.shape[2])
            begin, self._end = self._end, self._end + key_states.shape[2]
            for buffer, states in zip(self._buffers, (key_states, value_states), strict=True):
                buffer[: self._num_rows, :, begin : self._end] = states
            self._show()
        assert self.keys is not None
        assert self.values is not None
        return self.keys, self.values

    def append(self, other: "GrowingLayer", sources: Sequence[int]) -> None:
        """Put rows of another layer under these, as many as there are sources, ending in the same column."""
        if not self._buffers:
            self._take(other.keys[sources], other.values[sources])
            return
        width = other.keys.shape[2]
        first = self._num_rows
        self.reserve(num_rows=first + len(sources), width=max(width, self._end - self._begin))
        self._begin = min(self._begin, self._end - width)
        self._num_rows += len(sources)
        for buffer, states in zip(self._buffers, (other.keys, other.values), strict=True):
            # What is masked is multiplied by 0, which helps nothing against NaN: padding is 0.
            buffer[first : self._num_rows, :, : self._end - width] = 0
            buffer[first : self._num_rows, :, self._end - width : self._end] = states[sources]
        self._show()

    def reserve(self, *, num_rows: int, width: int, more: int = 0) -> None:
        """Make room for rows of `width` columns up to where they end now, and for `more` beyond."""
        rows, heads, columns, _ = self._buffers[0].shape
        if num_rows <= rows and width <= self._end and self._end + more <= columns:
            return
        spare = MORE_COLUMNS + (width + more) // 4
        rows = rows if num_rows <= rows else max(num_rows, 2 * rows)
        held = self._end - self._begin
        for index, (buffer, shown) in enumerate(zip(self._buffers, (self.keys, self.values), strict=True)):
            larger = buffer.new_zeros(rows, heads, width + more + spare, buffer.shape[3])
            larger[: self._num_rows, :, width - held : width] = shown
            self._buffers[index] = larger
        self._begin, self._end = width - held, width
        self._show()

    def keep(self, moves: Sequence[tuple[int, int]], num_rows: int, padding: int) -> None:
        """Let rows move to places that became free, and keep the first ones; give up `padding` columns in front."""
        for buffer in self._buffers:
            for place, source in moves:
                buffer[place] = buffer[source]
        self._num_rows, self._begin = num_rows, self._begin + padding
        self._show()

    def _take(self, keys: Tensor, values: Tensor) -> None:
        self.dtype, self.device, self.is_initialized = keys.dtype, keys.device, True
        self._buffers = [keys, values]
        self._num_rows, self._begin, self._end = keys.shape[0], 0, keys.shape[2]
        self._show()

    def _show(self) -> None:
        self.keys, self.values = (buffer[: self._num_rows, :, self._begin : self._end] for buffer in self._buffers)


Remembered = list[tuple[Tensor, Tensor]]
"""Keys and values of one text, by layer: (head, position, dim) each."""


class RowCache(Cache):  # type: ignore[misc]
    """The cache of a batch, as transformers' models take it."""

    layers: list[GrowingLayer]

    def __init__(self, layers: list[GrowingLayer] | None = None) -> None:
        if layers:
            super().__init__(layers=layers)
        else:
            super().__init__(layer_class_to_replicate=GrowingLayer)

    @classmethod
    def beginning_with(cls, pasts: Sequence[Remembered], width: int) -> "RowCache":
        """Return a cache in which each row ends with a past of its own, filled up to `width` columns before it."""
        layers = []
        for parts in zip(*pasts, strict=True):
            keys, values = (
                torch.stack([pad(part[side], (0, 0, width - part[side].shape[1], 0)) for part in parts])
                for side in (0, 1)
            )
            layers.append(GrowingLayer.holding(keys, values))
        return cls(layers)

    def append(self, other: "RowCache", sources: Sequence[int]) -> None:
        """Put rows of another cache under these."""
        if not self.layers:
            self.layers = [GrowingLayer() for _ in other.layers]
        for ours, theirs in zip(self.layers, other.layers, strict=True):
            ours.append(theirs, sources)

    def keep(self, moves: Sequence[tuple[int, int]], num_rows: int, padding: int) -> None:
        """Let rows move, keep the first ones, and give up columns in front."""
        for layer in self.layers:
            layer.keep(moves, num_rows, padding)

    def remember(self, row: int, length: int) -> Remembered:
        """Return a copy of the last `length` columns of a row."""
        return [
            (layer.keys[row, :, layer.keys.shape[2] - length :].clone(),
             layer.values[row, :, layer.values.shape[2] - length :].clone())
            for layer in self.layers
        ]  # fmt: skip


class Memory:
    """Texts that were read, by their ids, with keys and values: the next prompt may begin with one of them.

    The attempts at one task share a prompt, the next turn of a conversation begins with this one and its answer, and
    all conversations of an agent begin alike. Least lately used first out.
    """

    def __init__(self, max_bytes: int = REMEMBERED_BYTES) -> None:
        self._max_bytes = max_bytes
        self._texts: OrderedDict[bytes, tuple[NDArray[np.int64], Remembered]] = OrderedDict()
        self._num_bytes = 0

    def __len__(self) -> int:
        """Return how many texts are held."""
        return len(self._texts)

    def find(self, ids: Sequence[int]) -> tuple[int, Remembered | None]:
        """Return how many of the first ids are known at most, of all but the last, and the text that holds them."""
        wanted = np.asarray(ids[:-1], dtype=np.int64)
        longest, found = SHORTEST_PREFIX - 1, None
        for key, (held, _) in self._texts.items():
            length = min(len(wanted), len(held))
            if length <= longest or held[longest] != wanted[longest]:
                continue
            differs = held[:length] != wanted[:length]
            length = int(differs.argmax()) if differs.any() else length
            if length > longest:
                longest, found = length, key
        if found is None:
            return 0, None
        self._texts.move_to_end(found)
        return longest, self._texts[found][1]

    def add(self, ids: Sequence[int], remembered: Remembered) -> None:
        """Hold a text."""
        held = np.asarray(ids, dtype=np.int64)
        size = sum(tensor.nbytes for pair in remembered for tensor in pair)
        if size > self._max_bytes or (key := held.tobytes()) in self._texts:
            return
        self._texts[key] = (held, remembered)
        self._num_bytes += size
        while self._num_bytes > self._max_bytes or len(self._texts) > REMEMBERED_TEXTS:
            _, (_, oldest) = self._texts.popitem(last=False)
            self._num_bytes -= sum(tensor.nbytes for pair in oldest for tensor in pair)

    def clear(self) -> None:
        """Forget everything: the weights are others."""
        self._texts.clear()
        self._num_bytes = 0


def first_tokens(remembered: Remembered, length: int) -> Remembered:
    """Return the keys and values of the first tokens of a text."""
    return [(keys[:, :length], values[:, :length]) for keys, values in remembered]


def grouped_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **others: Any,  # noqa: ANN401 - whatever else a model passes on
) -> tuple[Tensor, None]:
    """Attend as transformers' `sdpa` does; at one token a row, without a copy of keys for each head that shares them.

    Heads are (row, head, column, dim); the result is (row, column, head, dim).
    """
    rows, heads, columns, dim = query.shape
    kept = key.shape[1]
    if columns != 1 or heads == kept or others.get("position_bias") is not None:
        attended, _ = sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **others)
        return attended, None
    asked = query.view(rows, kept, heads // kept, dim)
    attended = scaled_dot_product_attention(asked, key, value, attn_mask=attention_mask, scale=scaling)
    return attended.reshape(rows, 1, heads, attended.shape[-1]), None


AttentionInterface.register(GROUPED, grouped_attention)
AttentionMaskInterface.register(GROUPED, sdpa_mask)


def choose_attention(model: Any) -> None:  # noqa: ANN401 - transformers ships no types
    """Let a model that attends by `sdpa` do it in groups."""
    if model.config._attn_implementation == "sdpa":  # noqa: SLF001 - where transformers keeps it
        model.set_attn_implementation(GROUPED)
