"""Tasks that say nearly the same come into one group, whichever order, windows and neighbours they come with."""

from itertools import pairwise
from random import Random
from string import ascii_lowercase
from unittest.mock import patch

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from foundation import near_duplicates
from foundation.near_duplicates import Signatures, near_groups, signature

WORDS = ("order", "ship", "late", "return", "refund", "invoice", "card", "color", "size", "box", "address", "street")


def signed(texts: list[str]) -> Signatures:
    """Return the signatures of texts."""
    return np.array([signature(text) for text in texts])


def sentence(random: Random, length: int = 40) -> str:
    """Return words that nobody else says in this order."""
    return " ".join(f"{random.choice(WORDS)}{chr(97 + random.randrange(26))}" for _ in range(length))


def edited(random: Random, text: str) -> str:
    """Return a near copy: a word added in front, left out at the end, or another one in the middle."""
    words = text.split()
    copies = ([random.choice(WORDS), *words], words[:-1], [*words[:20], random.choice(WORDS), *words[21:]])
    return " ".join(random.choice(copies))


corpora = st.builds(
    lambda seed, num_tasks, num_texts: _corpus(Random(seed), num_tasks, num_texts),
    st.integers(0, 2**32),
    st.integers(1, 8),
    st.integers(1, 30),
)


def _corpus(random: Random, num_tasks: int, num_texts: int) -> list[str]:
    tasks = [sentence(random) for _ in range(num_tasks)]
    return [edited(random, random.choice(tasks)) for _ in range(num_texts)]


@settings(deadline=None)
@given(corpora, st.data(), st.sampled_from([2, 32]))
def test_windows_come_to_the_groups_of_one_window(texts: list[str], data: st.DataObject, many: int) -> None:
    """However the texts are cut into windows: each window knows what came before, and no more."""
    with patch.object(near_duplicates, "MANY", many):
        whole = near_groups(signed(texts))
        cuts = sorted(data.draw(st.sets(st.integers(0, len(texts)), max_size=5)) | {0, len(texts)})

        groups: list[str] = []
        for begin, end in pairwise(cuts):
            groups += near_groups(signed(texts[begin:end]), signed(texts[:begin]) if begin else None, groups)

    assert groups == whole


@settings(deadline=None)
@given(corpora, corpora)
def test_what_is_known_keeps_its_group(texts: list[str], later: list[str]) -> None:
    """Whatever came after it, and in whatever order the texts are seen again."""
    groups = near_groups(signed(texts))
    after = near_groups(signed(later), signed(texts), groups)

    again = near_groups(signed([*later, *texts][::-1]), signed([*texts, *later]), [*groups, *after])

    assert again[::-1] == [*after, *groups]


@settings(deadline=None)
@given(corpora)
def test_equal_texts_are_one_group(texts: list[str]) -> None:
    """In any case."""
    groups = near_groups(signed([*texts, *(text.upper() for text in texts)]))

    assert groups[: len(texts)] == groups[len(texts) :]


def test_near_copies_find_each_other_among_thousands_that_are_alike() -> None:
    """Two thousand tasks of twenty templates, a third of their words their own; half of them come again, edited."""
    random = Random(20261121)
    templates = [sentence(random).split() for _ in range(20)]
    tasks = []
    for number in range(2000):
        own = list(templates[number % 20])
        for position in range(0, 40, 3):
            own[position] = "".join(random.choices(ascii_lowercase, k=7))
        tasks.append(" ".join(own))
    copies = [edited(random, task) for task in tasks[::2]]

    groups = near_groups(signed([*tasks, *copies]))

    found = sum(group == original for group, original in zip(groups[2000:], groups[:2000:2], strict=True))
    assert found == len(copies)
    assert len(set(groups[:2000])) > 1990, "alike is not near"


def test_a_template_is_not_one_task() -> None:
    """Of a thousand tasks that differ in two words of twenty most are told apart, and each is with its own copy."""
    random = Random(20261121)
    template = sentence(random, 20).split()
    tasks = []
    for _ in range(1000):
        first, second = ("".join(random.choices(ascii_lowercase, k=7)) for _ in range(2))
        tasks.append(" ".join([*template[:10], first, *template[10:19], second]))
    copies = [f"{task} please" for task in tasks]

    groups = near_groups(signed([*tasks, *copies]))

    assert len(set(groups[:1000])) > 700
    assert sum(task == copy for task, copy in zip(groups[:1000], groups[1000:], strict=True)) > 980


def test_another_number_is_another_task() -> None:
    """Though every other word is the same."""
    first, second = near_groups(signed([f"{sentence(Random(1))} table for {n} please" for n in (2, 3)]))

    assert first != second
