"""Measures how well nearly equal tasks are kept on one side of the hold-out, and what finding them costs.

    python -m benchmarks.etl.splits errors
    python -m benchmarks.etl.splits cost --tasks 100000

`errors`: 300 tasks, each with five copies edited in one to six places, in random order, received in windows of 100. A
pair is near if the two share four fifths of their runs of three words, counted exactly; it is divided if the two are in
different groups. Where groups are on different sides by chance, a held-out task of a divided pair has its neighbor in
training nine times out of ten. The designs beside ours: knowing one window only, and no memory at all, the side by the
smallest of a text's hash values. `cost`: seconds of CPU for the signatures and groups of so many tasks of which a tenth
are near copies, as one window, and for a window of a tenth of that after it.
"""

import argparse
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from random import Random
from string import ascii_lowercase
from unittest.mock import patch

import numpy as np

from foundation import near_duplicates
from foundation.near_duplicates import RUN, WORD, Signatures, near_groups, signature

TASKS, COPIES, WINDOW = 300, 5, 100
NEAR = 0.8
"""Share of runs from which on a pair ought to be together."""

CORPORA = {
    "20 words, up to 3 edits": (20, 3, 0.0),
    "60 words, up to 6 edits": (60, 6, 0.0),
    "40 words, 15 templates, 15 % own words, up to 3 edits": (40, 3, 0.15),
    "40 words, 15 templates, 8 % own words, up to 3 edits": (40, 3, 0.08),
    "20 words, 15 templates, one own word, up to 2 edits": (20, 2, 0.05),
}


def word(random: Random) -> str:
    """Return a word."""
    return "".join(random.choices(ascii_lowercase, k=random.randint(3, 8)))


def edited(random: Random, words: Sequence[str], vocabulary: Sequence[str]) -> list[str]:
    """Return the words with one added at an end, one replaced, or one left out."""
    copy, place = list(words), random.randrange(len(words))
    match random.choice(("add", "replace", "drop")):
        case "add":
            copy.insert(random.choice((0, len(copy))), random.choice(vocabulary))
        case "replace":
            copy[place] = random.choice(vocabulary)
        case _:
            del copy[place]
    return copy


def corpus(random: Random, length: int, edits: int, own: float) -> list[tuple[int, str]]:
    """Return texts in the order they come, each with the number of the task it is a copy of."""
    vocabulary = [word(random) for _ in range(3000)]
    templates = [[random.choice(vocabulary) for _ in range(length)] for _ in range(TASKS // 20)]
    texts: list[tuple[int, str]] = []
    for task in range(TASKS):
        words = list(random.choice(templates)) if own else [random.choice(vocabulary) for _ in range(length)]
        for place in random.sample(range(length), int(length * own)):
            words[place] = random.choice(vocabulary)
        texts.append((task, " ".join(words)))
        for _ in range(COPIES):
            copy = words
            for _ in range(random.randint(1, edits)):
                copy = edited(random, copy, vocabulary)
            texts.append((task, " ".join(copy)))
    random.shuffle(texts)
    return texts


def signed(texts: Sequence[str]) -> Signatures:
    """Return the signatures of texts."""
    return np.array([signature(text) for text in texts])


def one_window_only(signatures: Signatures) -> list[str]:
    """Return groups that are found window by window, none of which knows of another."""
    windows = [near_groups(signatures[begin : begin + WINDOW]) for begin in range(0, len(signatures), WINDOW)]
    return [f"{window}/{group}" for window, groups in enumerate(windows) for group in groups]


def without_memory(signatures: Signatures) -> list[str]:
    """Return groups by the first minimum alone."""
    return [str(first) for first in np.ascontiguousarray(signatures).view("<u2")[:, 0]]


def from_estimate(near: float) -> Callable[[Signatures], list[str]]:
    """Return our way, with another estimate from which on two texts are near."""

    def group(signatures: Signatures) -> list[str]:
        with patch.object(near_duplicates, "NEAR", near):
            return near_groups(signatures)

    return group


DESIGNS: dict[str, Callable[[Signatures], list[str]]] = {
    "each window alone": one_window_only,
    "no memory": without_memory,
    **{f"first come, from {near}": from_estimate(near) for near in (0.8, 0.7, near_duplicates.NEAR, 0.5)},
}


def runs(text: str) -> set[tuple[str, ...]]:
    """Return the runs of words of a text."""
    words = WORD.findall(text)
    return {tuple(words[start : start + RUN]) for start in range(len(words) - RUN + 1)}


def errors() -> Iterator[dict[str, object]]:
    """Return what each design divides, on each corpus."""
    for name, (length, edits, own) in CORPORA.items():
        texts = corpus(Random(1), length, edits, own)
        members: dict[int, list[int]] = {}
        for number, (task, _) in enumerate(texts):
            members.setdefault(task, []).append(number)
        sets = [runs(text) for _, text in texts]
        near = [
            (a, b)
            for numbers in members.values()
            for a, b in combinations(numbers, 2)
            if len(sets[a] & sets[b]) >= NEAR * len(sets[a] | sets[b])
        ]
        signatures = signed([text for _, text in texts])
        for design, group in DESIGNS.items():
            groups = group(signatures)
            divided = sum(groups[a] != groups[b] for a, b in near)
            yield {
                "corpus": name,
                "design": design,
                "near_pairs": len(near),
                "divided_percent": round(100 * divided / len(near), 1),
                "groups": len(set(groups)),
                "largest": Counter(groups).most_common(1)[0][1],
            }


def cost(num_tasks: int) -> dict[str, object]:
    """Measure the time for many tasks."""
    random = Random(1)
    vocabulary = [word(random) for _ in range(3000)]
    tasks: list[list[str]] = []
    for number in range(num_tasks + num_tasks // 10):
        fresh = number % 10 or not tasks
        words = [random.choice(vocabulary) for _ in range(40)] if fresh else random.choice(tasks)
        tasks.append(words if fresh else edited(random, words, vocabulary))
    texts = [" ".join(words) for words in tasks]
    began = time.process_time()
    signatures = signed(texts)
    signing = time.process_time()
    groups = near_groups(signatures[:num_tasks])
    grouped = time.process_time()
    near_groups(signatures[num_tasks:], signatures[:num_tasks], groups)
    later = time.process_time()
    return {
        "tasks": num_tasks,
        "signatures_s": round((signing - began) / 1.1, 2),
        "groups_s": round(grouped - signing, 2),
        "next_window_s": round(later - grouped, 2),
        "groups": len(set(groups)),
    }


def main() -> None:
    """Print one line of JSON a measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("errors")
    costs = commands.add_parser("cost")
    costs.add_argument("--tasks", type=int, default=100_000)
    arguments = parser.parse_args()
    for line in errors() if arguments.command == "errors" else [cost(arguments.tasks)]:
        print(json.dumps(line))


if __name__ == "__main__":
    main()
