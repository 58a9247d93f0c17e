"""Calls to token sequences: a call whose prompt continues an earlier call shares one sequence with it. No tensors.

Whether a call continues another is decided on token ids alone: its prompt must begin with the exact prompt and response
ids of the other. Then the model saw the same tokens either way, so training the two as one sequence changes nothing but
the cost. Where ids do not continue, a new sequence starts; nothing is ever repaired.
"""

from collections.abc import Sequence as Many
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from train.data.logged import Call

UNTRAINED = -1
"""In `Sequence.call`: the token is context."""


class Start(StrEnum):
    """Why a sequence starts where it does instead of going on from an earlier call."""

    FIRST = "first"
    """No earlier call of the episode shares a token with it."""

    BRANCH = "branch"
    """It continues an earlier call that another one continues already: a retry, a fork, a parallel agent."""

    REWRITTEN = "rewritten"
    """Its prompt departs from every earlier call inside that call's prompt: a new system text, a compacted history."""

    RETOKENIZED = "retokenized"
    """Its prompt departs inside what the model had sampled: the text came back as other tokens."""


@dataclass(frozen=True)
class Sequence:
    """One forward pass: the ids of a chain of calls, each token with the call it is trained for."""

    ids: NDArray[np.int64]
    call: NDArray[np.int64]
    """For each token the index of the call that sampled it, or `UNTRAINED`. Same length as `ids`."""

    behavior_logprobs: NDArray[np.float32]
    """0 where untrained, NaN where not known. Same length as `ids`."""

    start: Start
    """Why the sequence starts a new chain."""

    @cached_property
    def calls(self) -> NDArray[np.int64]:
        """Indices of the calls it trains, ascending; never empty."""
        return np.unique(self.call[self.call != UNTRAINED])

    @property
    def is_recorded(self) -> bool:
        """Tell whether the log-probability of every trained token is on record."""
        return not np.isnan(self.behavior_logprobs).any()

    @property
    def num_trained(self) -> int:
        """Tokens that are trained."""
        return int((self.call != UNTRAINED).sum())


def build_sequences(calls: Many[Call]) -> list[Sequence]:
    """Chain the trainable calls of all episodes into sequences, in the order of the calls that end them.

    Every sampled token of a trainable call is trained in exactly one sequence; where two sequences share a call, the
    later one has it as context.
    """
    episodes: dict[int, list[int]] = {}
    for index, call in enumerate(calls):
        if call.set_aside is None:
            episodes.setdefault(call.episode, []).append(index)
    return [sequence for indices in episodes.values() for sequence in _chain(calls, indices)]


def _chain(calls: Many[Call], indices: list[int]) -> list[Sequence]:
    """Chain the calls of one episode, which come in the order they began."""
    parents: dict[int, int | None] = {}
    starts: dict[int, Start] = {}
    continued: set[int] = set()
    whole: dict[int, dict[bytes, int]] = {}  # by length: ids of prompt and response -> call
    for index in indices:
        prompt = calls[index].prompt_ids
        parent = _deepest_prefix(whole, prompt)
        parents[index] = parent
        if parent is None:
            starts[index] = _why_new(calls, list(starts), prompt)
        elif parent in continued:
            starts[index] = Start.BRANCH
        else:
            starts[index] = starts[parent]
        if parent is not None:
            continued.add(parent)
        ids = np.concatenate([prompt, calls[index].response_ids])
        whole.setdefault(len(ids), {})[ids.tobytes()] = index
    leaves = [index for index in indices if index not in continued]
    placed: set[int] = set()
    sequences = []
    for leaf in leaves:
        path = _path(parents, leaf)
        sequences.append(_join(calls, path, starts[leaf], skip=placed))
        placed.update(path)
    return sequences


def _deepest_prefix(whole: dict[int, dict[bytes, int]], prompt: NDArray[np.int64]) -> int | None:
    for length in sorted(whole, reverse=True):
        if length <= len(prompt):
            found = whole[length].get(prompt[:length].tobytes())
            if found is not None:
                return found
    return None


def _why_new(calls: Many[Call], earlier: list[int], prompt: NDArray[np.int64]) -> Start:
    shared, closest = max(
        ((_common_prefix(np.concatenate([calls[i].prompt_ids, calls[i].response_ids]), prompt), i) for i in earlier),
        default=(0, -1),
    )
    if shared == 0:
        return Start.FIRST
    return Start.RETOKENIZED if shared >= len(calls[closest].prompt_ids) else Start.REWRITTEN


def _common_prefix(one: NDArray[np.int64], other: NDArray[np.int64]) -> int:
    length = min(len(one), len(other))
    differs = np.flatnonzero(one[:length] != other[:length])
    return int(differs[0]) if len(differs) else length


def _path(parents: dict[int, int | None], leaf: int) -> list[int]:
    path = [leaf]
    while (parent := parents[path[-1]]) is not None:
        path.append(parent)
    return path[::-1]


def _join(calls: Many[Call], path: list[int], start: Start, *, skip: set[int]) -> Sequence:
    last = calls[path[-1]]
    ids = np.concatenate([last.prompt_ids, last.response_ids])
    call = np.full(len(ids), UNTRAINED, dtype=np.int64)
    logprobs = np.zeros(len(ids), dtype=np.float32)
    for index in path:
        if index in skip:
            continue
        begin = len(calls[index].prompt_ids)
        sampled = slice(begin, begin + len(calls[index].response_ids))
        call[sampled] = index
        logprobs[sampled] = calls[index].behavior_logprobs
    return Sequence(ids, call, logprobs, start)
