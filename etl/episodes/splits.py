"""Says on which side of the hold-out every episode is, so that what belongs together is never divided.

As its spans say, else by time, else by a hash: of the user, or of the task. A task without an id is taken by its words,
in any case, spacing or punctuation: by its question, and where the questions of two tasks nearly agree
(`foundation.near_duplicates`), by that of the first; by the system text or what else was shown where there is no
question.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from etl.dialects.spans import LlmCall
from etl.episodes.grouping import Episode
from etl.episodes.tasks import observation_hash
from etl.schema import Split
from etl.settings import EtlConfig
from foundation.near_duplicates import WORD, Signature, Signatures, group_of_its_own, near_groups, signature

PARTS = 10_000
"""Resolution of the hold-out share."""


@dataclass(frozen=True, slots=True)
class Side:
    """Where an episode is, and why."""

    split: Split
    group: str | None = None
    """Digest of what was hashed: episodes of one group are on one side. None where its spans or the time decided."""

    signature: Signature | None = None
    """Of the question, where that is what it was taken by."""


def assign_sides(
    episodes: Sequence[Episode],
    calls: Mapping[int, Sequence[LlmCall]],
    config: EtlConfig,
    revisions: Sequence[int],
) -> list[Side]:
    """Return the side of every episode; `calls` are the transitions of each, by its number, in the order they began.

    Near tasks are found among these episodes: `etl.runs.split_groups` goes over a whole run and all before it.
    """
    sides = [_side(episode, calls.get(number, ()), config) for number, episode in enumerate(episodes)]
    asked = [(number, side.signature) for number, side in enumerate(sides) if side.signature is not None]
    if not asked:
        return sides
    numbers, signatures = np.array([number for number, _ in asked]), np.array([own for _, own in asked])
    order = order_of_tasks(
        np.array([revisions[n] for n in numbers]), np.array([episodes[n].start_ns for n in numbers]), signatures
    )
    for number, group in zip(numbers[order], near_groups(signatures[order]), strict=True):
        sides[number] = replace(sides[number], split=side_of(group, config), group=group)
    return sides


def order_of_tasks(revisions: NDArray[np.int64], starts: NDArray[np.int64], signatures: Signatures) -> NDArray[np.intp]:
    """Return the order in which tasks come into groups: as their episodes were received, then as they began.

    So windows of receipt, one after the other, come to the groups that one window over all would.
    """
    order: NDArray[np.intp] = np.lexsort((*signatures.T, starts, revisions))
    return order


def side_of(group: str, config: EtlConfig) -> Split:
    """Return the side of a group: its name is a hash."""
    return Split.HELDOUT if int(group, 16) % PARTS < config.holdout * PARTS else Split.TRAIN


def _side(episode: Episode, calls: Sequence[LlmCall], config: EtlConfig) -> Side:
    if episode.split is not None:
        return Side(Split.HELDOUT if episode.split == Split.HELDOUT else Split.TRAIN)
    if config.holdout_from is not None and episode.start_ns >= _nanoseconds(config.holdout_from):
        return Side(Split.HELDOUT)
    key = (episode.user if config.holdout_by == "user" else None) or episode.task_id
    if key is None and not calls:
        return Side(Split.TRAIN)
    question = _question(calls[0]) if key is None else None
    if question:
        own = signature(question)
        group = group_of_its_own(own)
        return Side(side_of(group, config), group, own)
    group = sha256((key or _words(calls[0])).encode()).hexdigest()[:16]
    return Side(side_of(group, config), group)


def _nanoseconds(instant: datetime) -> int:
    aware = instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant
    return int(aware.timestamp() * 1_000_000) * 1000


def _question(call: LlmCall) -> str:
    first = next((message for message in call.input or () if message["role"] == "user"), None)
    return " ".join(WORD.findall(((first or {}).get("text") or "").casefold()))


def _words(call: LlmCall) -> str:
    """Return the words of the system text; where there are none, a digest of all that was shown."""
    return " ".join(WORD.findall(((call.input or [{}])[0].get("text") or "").casefold())) or observation_hash(call)
