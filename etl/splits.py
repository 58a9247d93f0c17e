"""Says on which side of the hold-out every episode is, so that what belongs together is never divided.

As its spans say, else by time, else by a hash: of the user, or of the task. A task without an id is taken by its words,
in any case, spacing or punctuation; and where the questions of two such tasks nearly agree (`etl.near_duplicates`), by
those of one of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256

from etl.dialects.spans import LlmCall
from etl.episodes import Episode
from etl.near_duplicates import WORD, near_duplicates
from etl.schema import Split
from etl.settings import EtlConfig
from etl.tasks import observation_hash

PARTS = 10_000
"""Resolution of the hold-out share."""


@dataclass(frozen=True, slots=True)
class Side:
    """Where an episode is, and why."""

    split: Split
    group: str | None = None
    """Digest of what was hashed: episodes of one group are on one side. None where its spans or the time decided."""


def assign_sides(episodes: Sequence[Episode], calls: Mapping[int, Sequence[LlmCall]], config: EtlConfig) -> list[Side]:
    """Return the side of every episode; `calls` are the transitions of each, by its number, in the order they began."""
    keys: list[str | None] = [_explicit(episode, config) for episode in episodes]
    questions: dict[int, str] = {}
    for number, episode in enumerate(episodes):
        own = calls.get(number)
        if keys[number] is None and own and not _is_decided(episode, config):
            keys[number] = _words(own[0])
            questions[number] = _question(own[0])
    near = near_duplicates(question for question in questions.values() if question)
    earliest: dict[str, str] = {}
    for number, question in questions.items():
        if question:
            key = str(keys[number])
            earliest[near[question]] = min(key, earliest.get(near[question], key))
    for number, question in questions.items():
        keys[number] = earliest[near[question]] if question else keys[number]
    return [_side(episode, key, config) for episode, key in zip(episodes, keys, strict=True)]


def _explicit(episode: Episode, config: EtlConfig) -> str | None:
    return (episode.user if config.holdout_by == "user" else None) or episode.task_id


def _is_decided(episode: Episode, config: EtlConfig) -> bool:
    begins = config.holdout_from
    return episode.split is not None or (begins is not None and episode.start_ns >= _nanoseconds(begins))


def _side(episode: Episode, key: str | None, config: EtlConfig) -> Side:
    if episode.split is not None:
        return Side(Split.HELDOUT if episode.split == Split.HELDOUT else Split.TRAIN)
    if _is_decided(episode, config):
        return Side(Split.HELDOUT)
    if key is None:
        return Side(Split.TRAIN)
    digest = sha256(key.encode())
    part = int.from_bytes(digest.digest()[:8], "big") % PARTS
    return Side(Split.HELDOUT if part < config.holdout * PARTS else Split.TRAIN, digest.hexdigest()[:16])


def _nanoseconds(instant: datetime) -> int:
    aware = instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant
    return int(aware.timestamp() * 1_000_000) * 1000


def _question(call: LlmCall) -> str:
    first = next((message for message in call.input or () if message["role"] == "user"), None)
    return " ".join(WORD.findall(((first or {}).get("text") or "").casefold()))


def _words(call: LlmCall) -> str:
    """Return the words of a call's question, those of the system text and the first user message.

    Where no text is recorded, the prompt's token ids stand for it.
    """
    system = ((call.input or [{}])[0].get("text") or "").casefold()
    words = " ".join(part for part in (" ".join(WORD.findall(system)), _question(call)) if part)
    return words or observation_hash(call)
