"""Reads from the published tasks those that decide into which groups new ones come, some parts at a time.

These are the tasks that share a key with a new one, of each key the first `HEADS` texts, and the texts that are new
ones word for word. All others say nothing, so memory does not grow with what is published.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from etl.episodes.splits import order_of_tasks
from etl.tables import scan
from foundation.near_duplicates import HEADS, KEYS, MANY, Signatures, digests_of

TASK = ("revision", "start_ns", "split_group", "split_signature")

FILES_AT_ONCE = 32
MOST_KEPT = 50_000
"""Tasks that may matter, before those that other ones forestall are dropped."""

SIEVE_BITS = 20


@dataclass(frozen=True, slots=True)
class KnownTasks:
    """Published tasks in the order they came, and how many different texts their groups have (`MANY` at most)."""

    signatures: Signatures
    groups: list[str]
    sizes: Counter[str]


def signatures_of(tasks: pl.DataFrame) -> Signatures:
    """Return the signatures of tasks, a row each."""
    values: Signatures = tasks["split_signature"].explode().to_numpy()  # pyarrow's would import pandas
    return values.reshape(len(tasks), KEYS)


def in_order_of_coming(tasks: pl.DataFrame) -> pl.DataFrame:
    """Return tasks in the order they come into groups."""
    return tasks[order_of_tasks(tasks["revision"].to_numpy(), tasks["start_ns"].to_numpy(), signatures_of(tasks))]


def known_tasks(files: Sequence[Path], wanted: Signatures) -> KnownTasks:
    """Return the tasks in these parts that may decide into which groups tasks with the wanted signatures come."""
    sieve = _Sieve(wanted)
    kept: list[pl.DataFrame] = []
    for tasks in _read(files):
        kept.append(tasks.filter(sieve.passes(signatures_of(tasks))))
        if sum(one.height for one in kept) > MOST_KEPT:
            kept = [sieve.first(pl.concat(kept))]
    tasks = sieve.first(pl.concat(kept)) if kept else pl.DataFrame()
    if tasks.is_empty():
        return KnownTasks(np.empty((0, KEYS), dtype=np.int64), [], Counter())
    return KnownTasks(signatures_of(tasks), tasks["split_group"].to_list(), _sizes(files, tasks["split_group"]))


def _read(files: Sequence[Path], groups: pl.Series | None = None) -> Iterator[pl.DataFrame]:
    is_meant = pl.col("split_signature").is_not_null()
    if groups is not None:
        is_meant &= pl.col("split_group").is_in(groups.unique().implode())
    for begin in range(0, len(files), FILES_AT_ONCE):
        yield scan("episodes", files[begin : begin + FILES_AT_ONCE]).select(TASK).filter(is_meant).collect()


def _sizes(files: Sequence[Path], groups: pl.Series) -> Counter[str]:
    """Return how many different texts each of these groups has."""
    texts = pl.DataFrame(schema={"group": pl.String, "text": pl.Int64})
    for tasks in _read(files, groups):
        more = pl.DataFrame({"group": tasks["split_group"], "text": digests_of(signatures_of(tasks))})
        texts = pl.concat([texts, more]).unique(maintain_order=True).group_by("group").head(MANY)
    return Counter(dict(texts.group_by("group").len().iter_rows()))


class _Sieve:
    """Finds the tasks that share a key with wanted ones."""

    def __init__(self, wanted: Signatures) -> None:
        self._keys = [np.unique(wanted[:, key]) for key in range(KEYS)]
        self._texts = np.unique(digests_of(wanted))
        self._coarse = np.zeros((KEYS, 2**SIEVE_BITS), dtype=bool)
        for key in range(KEYS):
            self._coarse[key, self._keys[key] & (2**SIEVE_BITS - 1)] = True

    def passes(self, rows: Signatures) -> NDArray[np.bool_]:
        """Tell which rows share a key: by some of its bits first, which most rows do not stand."""
        found = np.zeros(len(rows), dtype=bool)
        for key in range(KEYS):
            found |= self._coarse[key][rows[:, key] & (2**SIEVE_BITS - 1)]
        likely = np.flatnonzero(found)
        found[likely] = self._shared(rows[likely]).any(axis=1)
        return found

    def _shared(self, rows: Signatures) -> NDArray[np.bool_]:
        return np.stack([np.isin(rows[:, key], self._keys[key]) for key in range(KEYS)], axis=1)

    def first(self, tasks: pl.DataFrame) -> pl.DataFrame:
        """Return, in order, of tasks alike the first, where that is wanted itself or among the first of a key."""
        tasks = in_order_of_coming(tasks)
        _, firsts = np.unique(digests_of(signatures_of(tasks)), return_index=True)
        tasks = tasks[np.sort(firsts)]
        rows = signatures_of(tasks)
        is_kept = np.isin(digests_of(rows), self._texts)
        shared = self._shared(rows)
        for key in range(KEYS):
            own = np.flatnonzero(shared[:, key])
            is_kept[own[_ranks(rows[own, key]) < HEADS]] = True
        return tasks.filter(is_kept)


def _ranks(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return of each value how many equal ones stand before it."""
    order = np.argsort(values, kind="stable")
    _, begins, counts = np.unique(values[order], return_index=True, return_counts=True)
    ranks = np.empty(len(values), dtype=np.int64)
    ranks[order] = np.arange(len(values)) - np.repeat(begins, counts)
    return ranks
