"""Math word problems with the steps that solve them: the subset of GSM8K and SVAMP."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from examples.datasets import read_rows


@dataclass(frozen=True)
class Problem:
    """One word problem."""

    id: str
    text: str
    answer: str
    steps: tuple[str, ...]
    """Expressions that lead to the answer, the last one to the answer itself where the source has it so."""

    split: str

    @property
    def cluster(self) -> str:
        """The problem itself."""
        return self.id


def load(datasets: Path, split: str, *, dataset: str | None = None, max_steps: int | None = None) -> list[Problem]:
    """Return the problems of a split, all or those of one source and of so many steps at most."""
    rows = read_rows(datasets / "calcx" / f"{split}.jsonl")
    kept = (row for row in rows if dataset is None or row["dataset"] == dataset)
    return [_problem(row, split) for row in kept if max_steps is None or len(row["steps"]) <= max_steps]


def _problem(row: dict[str, Any], split: str) -> Problem:
    steps = tuple(plain(step["expr"]) for step in row["steps"])
    return Problem(row["id"], " ".join(row["question"].split()), row["answer"], steps, split)


def plain(expression: str) -> str:
    """Return an expression without blanks, without outer brackets and without decimals that are none.

    >>> plain("( 8.0 - 3.0 )"), plain("(1+2)*(3+4)"), plain("2.50*4")
    ('8-3', '(1+2)*(3+4)', '2.50*4')
    """
    text = re.sub(r"(?<=\d)\.0+(?!\d)", "", re.sub(r"\s+", "", expression))
    inner = text[1:-1]
    closes_itself = text.startswith("(") and text.endswith(")") and "(" not in inner and ")" not in inner
    return inner if closes_itself else text
