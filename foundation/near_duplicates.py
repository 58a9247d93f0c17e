"""Puts texts that say nearly the same into one group, by MinHash: tasks for the hold-out, calls that are imitated once.

A text is the set of its runs of three words (Broder 1997). Of each of 64 hash functions the smallest value over the set
is kept, 16 bits of it (Li and König 2010); the share of equal minima estimates the share of runs two texts have in
common. Four minima make a key of 64 bits, 16 keys the signature. The numbers a text holds are mixed into it: a task
with another number is another task.

Texts come into groups one after the other, in the order they came: to the group of the text before that is most alike,
if the estimate is at least `NEAR`, else to one of their own. A group of `MANY` texts is rather a template filled in
than one task reworded: it takes only what is near for `SURE`. Only texts with a key in common are compared, and of them
the first `HEADS` for each key, so the whole is linear; and a group never changes by what comes later.
docs/decisions/0005-sides-by-first-come.md says what else was tried, with its errors.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from hashlib import blake2b, sha256

import numpy as np
from numpy.typing import NDArray

WORD = re.compile(r"\w+")
NUMBER = re.compile(r"\d+")
NEAR = 0.6
"""Texts that share four fifths of their runs are to be together. An estimate from 64 minima has a standard deviation of
0.05 there; four of them below, whatever is meant to be near is found so."""

SURE, MANY = 0.8, 32

RUN = 3
KEYS, MINIMA = 16, 64
HEADS = 4
MAX_WORDS = 4000
"""Of a longer text the beginning decides."""

SAMPLE = 2000
TEMPLATE_SHARE, TEMPLATE_LEAST = 0.05, 8

RANDOM = np.random.Generator(np.random.PCG64(20_261_121))
FACTORS = RANDOM.integers(0, 2**63, MINIMA, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
TERMS = RANDOM.integers(0, 2**63, MINIMA, dtype=np.uint64)
MIXER = RANDOM.integers(0, 2**63, KEYS, dtype=np.int64) | 1

Signature = NDArray[np.int64]
"""(KEYS,)"""

Signatures = NDArray[np.int64]
"""(text, KEYS)"""

Runs = NDArray[np.uint64]
"""Hashes of runs of words."""


def signature(text: str, *, without: Runs | None = None) -> Signature:
    """Return the keys of a text, the words of which are told apart in any case.

    `without`: runs that say nothing, such as those of a template; a text that has no others keeps them.
    """
    hashes = runs(text)
    if without is not None and not (says_nothing := np.isin(hashes, without)).all():
        hashes = hashes[~says_nothing]
    minima = ((hashes[:, None] * FACTORS + TERMS) >> np.uint64(32)).min(axis=0).astype("<u2")  # the lower 16 bits
    numbers = np.frombuffer(_digest(" ".join(NUMBER.findall(text))), dtype="<i8")
    keys: Signature = minima.view("<i8") ^ numbers
    return keys


def runs(text: str) -> Runs:
    """Return the hashes of the runs of words a text is made of, each once."""
    words = WORD.findall(text.casefold())[:MAX_WORDS]
    found = {" ".join(words[start : start + RUN]) for start in range(max(1, len(words) - RUN + 1))}
    return np.frombuffer(b"".join(_digest(run) for run in found), dtype="<u8")


def common_runs(texts: Sequence[str]) -> Runs:
    """Return the runs that more than one different text in twenty has, and eight at least: they are a template's.

    Of many texts a sample decides, evenly spread.
    """
    different = list(dict.fromkeys(texts))
    sample = different[:: max(1, len(different) // SAMPLE)]
    if not sample:
        return np.empty(0, dtype=np.uint64)
    values, counts = np.unique(np.concatenate([runs(text) for text in sample]), return_counts=True)
    return values[counts > max(TEMPLATE_LEAST - 1, TEMPLATE_SHARE * len(sample))]


def _digest(text: str) -> bytes:
    return blake2b(text.encode(), digest_size=8).digest()


def digests_of(signatures: Signatures) -> NDArray[np.int64]:
    """Return 64 bits for each signature, by which equal ones are known."""
    digests: NDArray[np.int64] = (signatures * MIXER).sum(axis=1)
    return digests


def group_of_its_own(own: Signature) -> str:
    """Return the name of the group that a text founds."""
    return sha256(own.astype("<i8").tobytes()).hexdigest()[:16]


def near_groups(
    signatures: Signatures,
    known: Signatures | None = None,
    groups: Sequence[str] = (),
    sizes: Mapping[str, int] | None = None,
) -> list[str]:
    """Return the group of each text, in the order they came; those of `known` texts, which came before, are given.

    Equal texts are in one group, and what was known keeps its own. `sizes`: how many different texts the groups have,
    where the known ones are not all of them.

    >>> texts = ["Please book me a table for two in Rome tonight at the usual place, thank you",
    ...          "Book me a table for two in Rome tonight at the usual place, thank you", "What can you do?"]
    >>> one, same, other = near_groups(np.array([signature(text) for text in texts]))
    >>> one == same, one == other
    (True, False)
    """
    if known is None or not len(known):
        known, groups = np.empty((0, KEYS), dtype=np.int64), ()
    may_matter = np.zeros(len(known), dtype=bool)
    for key in range(KEYS):
        may_matter |= np.isin(known[:, key], signatures[:, key])
    rows = np.ascontiguousarray(np.concatenate([known[may_matter], signatures]))
    minima = rows.view("<u2")  # (text, MINIMA)
    found = [groups[number] for number in np.flatnonzero(may_matter)]
    num_known = len(found)
    sizes = _sizes(known, groups) if sizes is None else Counter(sizes)
    is_alone = _are_alone(rows)
    equal: dict[bytes, int] = {}
    heads: dict[tuple[int, int], list[int]] = defaultdict(list)
    for number, row in enumerate(rows):
        first = equal.setdefault(row.tobytes(), number)
        if number >= num_known and first != number:
            found.append(found[first])
        elif number >= num_known:
            near = None if is_alone[number] else _nearest(number, row, minima, heads, found, sizes)
            found.append(group_of_its_own(row) if near is None else near)
            sizes[found[number]] += 1
        if first == number and not is_alone[number]:
            for head in (heads[entry] for entry in enumerate(row.tolist())):
                if len(head) < HEADS:
                    head.append(number)
    return found[num_known:]


def _are_alone(rows: Signatures) -> NDArray[np.bool_]:
    """Tell which texts have no key in common with any other: nothing is near to them."""
    is_alone = np.ones(len(rows), dtype=bool)
    for key in range(KEYS):
        _, inverse, counts = np.unique(rows[:, key], return_inverse=True, return_counts=True)
        is_alone &= counts[inverse] == 1
    return is_alone


def _sizes(known: Signatures, groups: Sequence[str]) -> Counter[str]:
    """Return how many different texts each group has."""
    _, first = np.unique(digests_of(known), return_index=True)
    return Counter(groups[number] for number in first)


def _nearest(
    number: int,
    row: Signature,
    minima: NDArray[np.uint16],
    heads: Mapping[tuple[int, int], Sequence[int]],
    groups: Sequence[str],
    sizes: Mapping[str, int],
) -> str | None:
    """Return the group of the text that is most alike, of the first of several; None where none is near enough."""
    others = sorted({other for entry in enumerate(row.tolist()) for other in heads.get(entry, ())})
    if not others:
        return None
    alike = (minima[others] == minima[number]).mean(axis=1)
    enough = [SURE if sizes[groups[other]] >= MANY else NEAR for other in others]
    alike = np.where(alike >= enough, alike, 0)
    best = int(alike.argmax())
    return groups[others[best]] if alike[best] else None
