"""Scores answers to questions of several hops: the tagged answer, its token F1, and what retrieval found.

Normalisation and F1 are those of SQuAD (Rajpurkar et al., 2016) as MuSiQue and Agent Lightning use them, but that
accents and the many dashes and quotes of Unicode count as little as the plain ones.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable

WHOLE = {"yes", "no", "noanswer"}
"""Answers that must be given as a whole: one word of them in a sentence is worth nothing."""

FORMAT_WEIGHT = 0.1
"""What tags around any answer are worth, as in the published reward; the answer is worth the rest."""


def extract(text: str) -> str:
    """Return what the last closed pair of answer tags holds, or nothing.

    >>> extract("<answer>Rome</answer> no, <answer> Bonn </answer>"), extract("<answer>Rome"), extract("Rome")
    ('Bonn', '', '')
    """
    found = re.findall(r"<answer>((?:(?!<answer>).)*?)</answer>", text, re.DOTALL | re.IGNORECASE)
    return found[-1].strip() if found else ""


def tokens(text: str) -> list[str]:
    """Return the words that count: lower case, without accents, punctuation and articles.

    >>> tokens("The Café-Bar, Zürich")
    ['cafebar', 'zurich']
    """
    plain = "".join(
        letter
        for letter in unicodedata.normalize("NFKD", text.casefold())
        if unicodedata.category(letter)[0] not in "PM" and letter not in "$+<=>^`|~"
    )
    return [word for word in plain.split() if word not in ("a", "an", "the")]


def exact_match(answer: str, gold: str) -> bool:
    """Tell whether an answer is the gold answer, but for what does not count. An empty answer never is."""
    said, wanted = tokens(answer), tokens(gold)
    if not wanted:  # nothing of the gold answer counts as a word: then it counts as it is
        return answer.strip().casefold() == gold.strip().casefold() and bool(answer.strip())
    return said == wanted


def token_f1(answer: str, gold: str) -> float:
    """Return the F1 of the answer's words, as a multiset, against the gold answer's.

    >>> token_f1("the year 1999", "1999"), token_f1("yes", "yes, it is"), token_f1("", "Rome")
    (0.6666666666666666, 0.0, 0.0)
    """
    if exact_match(answer, gold):
        return 1.0
    said, wanted = tokens(answer), tokens(gold)
    if " ".join(said) in WHOLE or " ".join(wanted) in WHOLE:
        return 0.0
    shared = sum((Counter(said) & Counter(wanted)).values())
    return 2 * shared / (len(said) + len(wanted)) if shared else 0.0


def best_f1(answer: str, golds: Iterable[str]) -> float:
    """Return the best F1 over the gold answer and its aliases; without any it is 0."""
    return max((token_f1(answer, gold) for gold in golds), default=0.0)


def answer_reward(text: str, golds: Iterable[str]) -> float:
    """Return 0.9 F1 + 0.1 for the tags, of the last answer that the final text tags.

    >>> answer_reward("<answer>Rome</answer>", ["Rome"]), answer_reward("Rome", ["Rome"])
    (1.0, 0.0)
    """
    answer = extract(text)
    return FORMAT_WEIGHT + (1 - FORMAT_WEIGHT) * best_f1(answer, golds) if answer else 0.0


def support_recall(found: Collection[str], supports: Collection[str]) -> float:
    """Return the share of the supporting paragraphs that retrieval found.

    >>> support_recall(["a", "x", "a"], ["a", "b"])
    0.5
    """
    wanted = set(supports)
    return len(wanted & set(found)) / len(wanted) if wanted else 0.0
