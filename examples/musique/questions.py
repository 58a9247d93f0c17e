"""Questions of several hops and the closed corpus they are asked over: of MuSiQue, 2WikiMultihopQA and HotpotQA."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from examples.datasets import read_rows

FILES = {"train": ("train", "aux_train"), "dev": ("dev",)}
"""Files of a split; nothing of the auxiliary ones is held out."""


@dataclass(frozen=True)
class Question:
    """One question, and what answers it."""

    id: str
    text: str
    answers: tuple[str, ...]
    """The gold answer, then its aliases."""

    hops: int
    supports: tuple[str, ...]
    """Ids of the paragraphs that support the answer."""

    queries: tuple[str, ...]
    """One a hop, as somebody would ask who knew the answers of the hops before; empty where nobody wrote them down."""

    split: str

    @property
    def cluster(self) -> str:
        """The question itself: none is asked twice."""
        return self.id


@dataclass(frozen=True)
class Paragraph:
    """One paragraph of the corpus."""

    id: str
    title: str
    text: str


def load(datasets: Path, split: str, *, hops: int | None = None, decomposed: bool = False) -> list[Question]:
    """Return the questions of a split, all of them, those of so many hops, or those whose searches somebody wrote down.

    Raises `FileNotFoundError`.
    """
    if split not in FILES:
        raise FileNotFoundError(f"there is no split {split!r} of musique: one of {', '.join(FILES)}")
    rows = [row for name in FILES[split] for row in read_rows(datasets / "musique" / f"{name}.jsonl")]
    kept = (row for row in rows if hops is None or row["hops"] == hops)
    return [_question(row, split) for row in kept if row["decomposition"] or not decomposed]


def _question(row: dict[str, Any], split: str) -> Question:
    queries = tuple(_queries(row["decomposition"]))
    answers = (row["answer"], *row["answer_aliases"])
    text = " ".join(row["question"].split())
    return Question(row["id"], text, answers, row["hops"], tuple(row["supporting_docids"]), queries, split)


def _queries(decomposition: list[dict[str, Any]]) -> Iterator[str]:
    for step in decomposition:
        query = step["question"].replace(" >> ", " ")
        for number, before in enumerate(decomposition, start=1):
            query = query.replace(f"#{number}", before["answer"])
        yield query


def read_corpus(datasets: Path) -> list[Paragraph]:
    """Return all paragraphs, the auxiliary ones among them."""
    rows = [row for name in ("corpus", "aux_corpus") for row in read_rows(datasets / "musique" / f"{name}.jsonl")]
    return [Paragraph(row["docid"], row["title"], row["text"]) for row in rows]


def shown(paragraph: Paragraph, chars: int) -> str:
    r"""Return a paragraph as the agent is shown it: on one line, cut to so many characters.

    >>> shown(Paragraph("x", "Rome", "A city.\nOld."), 12)
    'Rome: A city'
    """
    return f"{paragraph.title}: {' '.join(paragraph.text.split())}"[:chars]
