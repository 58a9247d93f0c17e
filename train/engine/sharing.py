"""What sequences begin with alike, read once: rows that branch like a tree, and batches that keep branches together.

The attempts at one task have its prompt in common, the agents of a team their instructions, a retry the history before
it. A row then holds each common beginning once and every continuation after it; attention lets a token see what stands
above it in its own sequence (`train.engine.attention`), so log-probabilities and gradients are those of the sequences
one by one.
"""

from collections.abc import Iterator
from collections.abc import Sequence as Many
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

SHORTEST_SHARED = 32
"""Tokens in common from which a branch pays: one more piece for attention costs about as much as some tokens."""

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Layout:
    """A row of tokens in segments, each of which goes on from the beginning of the row's sequences or from another."""

    ids: Ids
    """All tokens of the row."""

    positions: Ids
    """Of each token in its own sequence."""

    boundaries: Ids
    """Where each segment begins, and where the last one ends."""

    parents: Ids
    """The segment each one goes on from, which stands before it; -1 where a sequence begins."""

    places: list[Ids]
    """For each sequence, in the order given: where in the row its tokens are."""


def lay_out(sequences: Many[Ids], *, shared: bool) -> Layout:
    """Lay sequences into one row; with `shared`, what several begin with stands there once."""
    segments: list[tuple[int, int, int, int]] = []  # sequence that has its tokens, first and last position, parent
    of_sequence: list[list[int]] = [[] for _ in sequences]
    if shared:
        order, common = _sorted(sequences)
        _branch(sequences, order, common, segments, of_sequence)
    else:
        for index, ids in enumerate(sequences):
            of_sequence[index].append(len(segments))
            segments.append((index, 0, len(ids), -1))
    sizes = np.array([end - begin for _, begin, end, _ in segments])
    boundaries = np.concatenate([[0], np.cumsum(sizes)])
    parts = [np.arange(boundaries[index], boundaries[index + 1]) for index in range(len(segments))]
    return Layout(
        ids=np.concatenate([sequences[owner][begin:end] for owner, begin, end, _ in segments]),
        positions=np.concatenate([np.arange(begin, end) for _, begin, end, _ in segments]),
        boundaries=boundaries,
        parents=np.array([parent for *_, parent in segments]),
        places=[np.concatenate([parts[index] for index in indices]) for indices in of_sequence],
    )


def fill(lengths: Many[int], tokens_per_batch: int) -> list[list[int]]:
    """Group indices so that no batch exceeds the budget of tokens; what is longer gets a batch to itself.

    First fit, longest first, equal lengths in the order given (at most 11/9 of the batches the best grouping needs).
    The first batch holds the longest: it shows whether memory suffices.

    >>> fill([3, 9, 4, 20], 18)
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


def plan_batches(sequences: Many[Ids], tokens_per_batch: int, *, shared: bool) -> list[list[int]]:
    """Group sequences so that no batch exceeds the budget of tokens; a longer one gets a batch to itself.

    With `shared`, what they share is counted once and those that share are kept together: neighbours in the order of
    their ids form families, as large as the budget allows, and the families are grouped.
    """
    if not shared:
        return fill([len(ids) for ids in sequences], tokens_per_batch)
    families: list[list[int]] = []
    least = 0
    for index, common in zip(*_sorted(sequences), strict=True):
        added = len(sequences[index]) - common
        if common >= SHORTEST_SHARED and least + added <= tokens_per_batch:
            families[-1].append(index)
            least += added
        else:
            families.append([index])
            least = len(sequences[index])
    fitting = [each for family in families for each in _divide(sequences, family, tokens_per_batch)]
    batches = fill([size for size, _ in fitting], tokens_per_batch)
    return [[index for member in batch for index in fitting[member][1]] for batch in batches]


def _divide(sequences: Many[Ids], family: list[int], tokens_per_batch: int) -> Iterator[tuple[int, list[int]]]:
    """Divide a family until each part, as it will be laid out, keeps to the budget; yield sizes and parts.

    What a few of it have in common beyond the others is shared only where it is long enough.
    """
    size = len(lay_out([sequences[index] for index in family], shared=True).ids)
    if size <= tokens_per_batch or len(family) == 1:
        yield size, family
        return
    half = len(family) // 2
    yield from _divide(sequences, family[:half], tokens_per_batch)
    yield from _divide(sequences, family[half:], tokens_per_batch)


def _sorted(sequences: Many[Ids]) -> tuple[list[int], list[int]]:
    """Return the order of sequences by their ids, and how many of its first ids each shares with the one before."""
    keys = [ids.astype(">u4").tobytes() for ids in sequences]
    order = sorted(range(len(sequences)), key=lambda index: (keys[index], index))
    common = [0][: len(order)]
    for before, index in pairwise(order):
        one, other = sequences[before], sequences[index]
        length = min(len(one), len(other))
        differs = one[:length] != other[:length]
        common.append(int(differs.argmax()) if differs.any() else length)
    return order, common


def _branch(
    sequences: Many[Ids],
    order: list[int],
    common: list[int],
    segments: list[tuple[int, int, int, int]],
    of_sequence: list[list[int]],
) -> None:
    """Write the segments of sequences that are in order, and which of them each sequence consists of.

    `waiting` holds runs of sequences that have all before `depth` in common, written already as the segment `parent`.
    """
    waiting = [(0, len(order), 0, -1)]
    while waiting:
        begin, end, depth, parent = waiting.pop()
        shared = min(common[begin + 1 : end], default=len(sequences[order[begin]]))
        if shared - depth >= SHORTEST_SHARED or (end - begin == 1 and shared > depth):
            for index in order[begin:end]:
                of_sequence[index].append(len(segments))
            segments.append((order[begin], depth, shared, parent))
            depth, parent = shared, len(segments) - 1
        if end - begin > 1:
            # Siblings of one length beside each other: attention takes them together.
            runs = sorted(
                _runs(common, begin, end, depth + SHORTEST_SHARED),
                key=lambda run: (run[1] - run[0] > 1, len(sequences[order[run[0]]])),
            )
            waiting.extend((*run, depth, parent) for run in reversed(runs))


def _runs(common: list[int], begin: int, end: int, least: int) -> Iterator[tuple[int, int]]:
    """Divide a run of sequences where neighbours have less than `least` tokens in common."""
    first = begin
    for index in range(begin + 1, end + 1):
        if index == end or common[index] < least:
            yield first, index
            first = index
