"""Finds tasks that say nearly the same, by MinHash, so that they can be kept on one side of the hold-out.

A text is the set of its runs of three words. Two texts are near if they share about `NEAR` of them and hold the same
numbers: a task with another number is another task. Signatures of 64 minima estimate the share (Broder 1997); texts
that agree in one of 16 bands of four are compared with the first text of the band only, so the whole is linear, and
near to near is near.
"""

import re
from collections.abc import Iterable
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

WORD = re.compile(r"\w+")
NUMBER = re.compile(r"\d+")
NEAR = 0.8
RUN = 3
BANDS, ROWS = 16, 4
MAX_WORDS = 4000
"""Of a longer text the beginning decides."""

RANDOM = np.random.Generator(np.random.PCG64(20_261_121))
FACTORS = RANDOM.integers(0, 2**63, BANDS * ROWS, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
TERMS = RANDOM.integers(0, 2**63, BANDS * ROWS, dtype=np.uint64)

Signature = NDArray[np.uint64]


def signature(text: str) -> Signature:
    """Return the minima of a text: for each of 64 hash functions the smallest value among its runs of words."""
    words = WORD.findall(text.casefold())[:MAX_WORDS]
    runs = {" ".join(words[start : start + RUN]) for start in range(max(1, len(words) - RUN + 1))}
    digests = b"".join(blake2b(run.encode(), digest_size=8).digest() for run in runs)
    hashes = np.frombuffer(digests, dtype=np.uint64)
    minima: Signature = ((hashes[:, None] * FACTORS + TERMS) >> np.uint64(32)).min(axis=0)
    return minima


def near_duplicates(texts: Iterable[str]) -> dict[str, str]:
    """Return for each text the first, in order of the alphabet, of those it is near to; itself where there is none.

    >>> near = near_duplicates(["Please book me a table for two in Rome tonight at the usual place, thank you",
    ...                         "Book me a table for two in Rome tonight at the usual place, thank you"])
    >>> set(near.values())
    {'Book me a table for two in Rome tonight at the usual place, thank you'}
    """
    ordered = sorted(set(texts))
    signatures = [signature(text) for text in ordered]
    leader = list(range(len(ordered)))
    first: dict[tuple[int, bytes, tuple[str, ...]], int] = {}
    for number, (text, own) in enumerate(zip(ordered, signatures, strict=True)):
        numbers = tuple(NUMBER.findall(text))
        for band in range(BANDS):
            key = (band, own[band * ROWS : (band + 1) * ROWS].tobytes(), numbers)
            other = first.setdefault(key, number)
            if other != number and float(np.mean(own == signatures[other])) >= NEAR:
                _join(leader, other, number)
    return {text: ordered[_lead(leader, number)] for number, text in enumerate(ordered)}


def _lead(leader: list[int], number: int) -> int:
    while leader[number] != number:
        leader[number] = leader[leader[number]]
        number = leader[number]
    return number


def _join(leader: list[int], one: int, other: int) -> None:
    a, b = _lead(leader, one), _lead(leader, other)
    leader[max(a, b)] = min(a, b)
