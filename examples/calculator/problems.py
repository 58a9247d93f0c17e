"""Arithmetic word problems: made from a seed, split for good into train and held-out, graded exactly."""

import hashlib
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal

Split = Literal["train", "heldout"]

HELDOUT_ONE_IN = 5
"""One text in so many is held out."""

NAMES = ("Ada", "Ben", "Eva", "Finn", "Iris", "Leo", "Mia", "Noah")

TEMPLATES = (
    ("{name} has {a} apples and buys {b} more. How many apples now?", "+"),
    ("{name} read {a} pages in the morning and {b} at night. How many pages?", "+"),
    ("A bus has {a} people. {b} more get on. How many people now?", "+"),
    ("{name} has {a} coins and gives away {b}. How many are left?", "-"),
    ("There are {a} birds. {b} fly away. How many are left?", "-"),
    ("{name} is {a} years old and Tom is {b} younger. How old is Tom?", "-"),
    ("There are {a} boxes with {b} pens each. How many pens?", "*"),
    ("{name} walks {a} miles a day for {b} days. How many miles?", "*"),
)


@dataclass(frozen=True)
class Problem:
    """One word problem. Its numbers and its answer are whole and lie in 0..99."""

    text: str
    expression: str
    answer: int

    @property
    def task_id(self) -> str:
        """Name of the task, the same in every run: the first 16 hex digits of the text's sha256."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:16]

    @property
    def split(self) -> Split:
        """Where the problem belongs. The text alone decides, so no text is ever in both."""
        return "heldout" if int(self.task_id, 16) % HELDOUT_ONE_IN == 0 else "train"


def generate(num_problems: int, *, split: Split, seed: int) -> list[Problem]:
    """Return different problems of one split; the same seed gives the same problems, more of them only adds.

    Two problems of different splits may ask for the same sum in other words; they never share a text.

    >>> [problem.split for problem in generate(3, split="heldout", seed=1)]
    ['heldout', 'heldout', 'heldout']
    >>> generate(2, split="train", seed=1) == generate(3, split="train", seed=1)[:2]
    True
    """
    fitting = (problem for problem in _stream(random.Random(seed)) if problem.split == split)
    return list(islice(_distinct(fitting), num_problems))


def grade(answer_text: str, problem: Problem) -> float:
    """Return 1.0 when the text states the exact answer and no other number, else 0.0.

    >>> problem = Problem("There are 7 birds. 2 fly away. How many are left?", "7-2", 5)
    >>> grade("The answer is 5.", problem), grade("The answer is 5, or 6.", problem), grade("15", problem)
    (1.0, 0.0, 0.0)
    """
    return float(re.findall(r"-?\d+(?:\.\d+)?", answer_text) == [str(problem.answer)])


def _stream(rng: random.Random) -> Iterator[Problem]:
    while True:
        template, operator = rng.choice(TEMPLATES)
        a, b, answer = _numbers(operator, rng)
        text = template.format(name=rng.choice(NAMES), a=a, b=b)
        yield Problem(text, f"{a}{operator}{b}", answer)


def _numbers(operator: str, rng: random.Random) -> tuple[int, int, int]:
    """Draw two numbers whose result is in 0..99 too."""
    if operator == "+":
        answer = rng.randint(2, 99)
        a = rng.randint(1, answer - 1)
        return a, answer - a, answer
    if operator == "-":
        a = rng.randint(2, 99)
        b = rng.randint(1, a - 1)
        return a, b, a - b
    a = rng.randint(2, 24)
    b = rng.randint(2, 99 // a)
    return a, b, a * b


def _distinct(problems: Iterator[Problem]) -> Iterator[Problem]:
    seen: set[str] = set()
    for problem in problems:
        if problem.text not in seen:
            seen.add(problem.text)
            yield problem
