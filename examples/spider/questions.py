"""Questions of the Spider subset: as they are, or restricted to what a small model can begin with."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from examples.datasets import missing, read_rows

Split = Literal["train", "dev_seen", "dev"]

SELECT = re.compile(r"\bselect\b", re.IGNORECASE)


@dataclass(frozen=True)
class Question:
    """One question on one database."""

    id: str
    text: str
    database: Path
    schema: str
    """As the model is shown it."""

    gold: str
    split: Split

    @property
    def cluster(self) -> str:
        """The gold query on its database: Spider asks most of them in two wordings."""
        return f"{self.database.stem}: {self.gold.lower()}"


@dataclass(frozen=True)
class Restriction:
    """Which questions, and how much of the schema is shown. The defaults are the full task."""

    one_table: bool = False
    """Only gold queries of one SELECT on one table; that table's columns are all that is shown."""

    schema_chars: int = 2048
    """Characters of schema shown, the rest is cut."""


def load(datasets: Path, split: Split, restriction: Restriction = Restriction()) -> list[Question]:
    """Return the questions of a split in the order of the file, without those whose gold result is empty.

    There any query without a result would match. Raises `FileNotFoundError`, which says what is missing and where it
    comes from.
    """
    home = datasets / "spider"
    tables = {row["db_id"]: row for row in read_rows(home / "tables.jsonl")}
    return list(_fitting(home, read_rows(home / f"{split}.jsonl"), tables, split, restriction))


def _fitting(
    home: Path, rows: list[dict[str, Any]], tables: dict[str, Any], split: Split, restriction: Restriction
) -> Iterator[Question]:
    for row in rows:
        if not row["gold_rows"]:
            continue
        names = tables[row["db_id"]]["table_names_original"]
        if restriction.one_table:
            names = tables_of(row["query"], names)
            if len(SELECT.findall(row["query"])) != 1 or len(names) != 1:
                continue
        database = home / "database" / row["db_id"] / f"{row['db_id']}.sqlite"
        if not database.is_file():
            raise missing(database)
        schema = describe(tables[row["db_id"]], names)[: restriction.schema_chars]
        yield Question(row["id"], " ".join(row["question"].split()), database, schema, row["query"], split)


def tables_of(sql: str, names: list[str]) -> list[str]:
    """Return the tables that a query names after FROM or JOIN.

    >>> tables_of("SELECT a FROM Singer JOIN song", ["singer", "song", "concert"])
    ['singer', 'song']
    """
    said = {word.lower() for word in re.findall(r"\b(?:from|join|,)\s+[`\"\[]?(\w+)", sql, re.IGNORECASE)}
    return [name for name in names if name.lower() in said]


def describe(tables: dict[str, Any], names: list[str]) -> str:
    """Return a schema as one line a table: name(column type, ...).

    >>> described = {"table_names_original": ["t"], "column_names_original": [[-1, "*"], [0, "a"], [0, "b"]],
    ...     "column_types": ["text", "number", "text"]}
    >>> describe(described, ["t"])
    't(a number, b text)'
    """
    lines = []
    for index, table in enumerate(tables["table_names_original"]):
        if table in names:
            columns = zip(tables["column_names_original"], tables["column_types"], strict=True)
            lines.append(f"{table}({', '.join(f'{name} {kind}' for (place, name), kind in columns if place == index)})")
    return "\n".join(lines)
