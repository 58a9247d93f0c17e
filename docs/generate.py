"""Writes the reference pages from the code: commands, tables with their columns, and the names spans are read by.

Run it with `make docs`; tests/test_docs.py says when a page is behind the code.
"""

import ast
import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from unittest.mock import patch

import etl.columns
import receiver.schema
import train.schema
from etl.dialects import reading
from etl.dialects.structure import names
from etl.schema import RejectReason
from spanloop.cli import app

REFERENCE = Path(__file__).parent / "reference"
NOTE = "<!-- Written by `make docs` from the code. -->\n\n"


def commands_page() -> str:
    """Return every command with its settings, as `--help` shows them."""
    with patch.object(sys, "argv", ["spanloop"]):  # cyclopts names the program after it
        text = app.generate_docs(output_format="markdown", recursive=True, include_hidden=False)
    return NOTE + re.sub(r"[ \t]+\n", "\n", text).strip() + "\n"


def tables_page() -> str:
    """Return every published table with its columns."""
    parts = [NOTE + "# Tables\n\nAll of them can be queried with `spanloop sql`.\n"]
    for name, columns in receiver.schema.ROWS.items():
        parts.append(f"\n## {name}\n\nWritten by the receiver.\n\n| column | type | meaning |\n|---|---|---|\n")
        parts.extend(f"| `{column.name}` | {column.type} | {column.description} |\n" for column in columns)
    for name, declared in etl.columns.TABLES.items():
        parts.append(f"\n## {name}\n\nWritten by the ETL.\n\n| column | type | meaning |\n|---|---|---|\n")
        parts.extend(f"| `{column.name}` | {column.type} | {column.description} |\n" for column in declared)
    parts.append("\n## credit\n\nWritten by the trainer.\n\n| column | Polars type |\n|---|---|\n")
    parts.extend(f"| `{column}` | {kind} |\n" for column, kind in train.schema.CREDIT.items())
    return "".join(parts)


def names_page() -> str:
    """Return the readers in their order, the table of names that all else is read by, and why calls are rejected."""
    parts = [NOTE + "# Names\n\nHow spans are read: [dialects](../dialects.md).\n\n## Readers\n\n"]
    parts.append("A span is read by the first that recognises it; the rest is read by the names below.\n\n")
    for number, reader in enumerate(reading.ORDER, start=1):
        path = reader.__name__.replace(".", "/") + ".py"
        says = (reader.__doc__ or "").splitlines()[0]
        parts.append(f"{number}. [{path}](../../{path}): {says}\n")
    parts.append("\n## Fields\n\nWords at the end of a name, however joined.\n\n| field | names end in |\n|---|---|\n")
    parts.extend(f"| `{field}` | {', '.join(endings)} |\n" for field, endings in names.ENDINGS.items())
    parts.append("\n## Sides and kinds\n\n| what | words |\n|---|---|\n")
    sides = (("asked", names.ASKED), ("answered", names.ANSWERED), ("content of a side", names.CONTENT))
    told = [*sides, *((f"a span that is: {kind.value}", words) for kind, words in names.KINDS)]
    parts.extend(f"| {what} | {', '.join(sorted(words))} |\n" for what, words in told)
    parts.append("\n## Why a call is no transition\n\n| reason | |\n|---|---|\n")
    parts.extend(f"| `{reason}` | {says} |\n" for reason, says in _reasons())
    return "".join(parts)


def _reasons() -> Iterator[tuple[str, str]]:
    """Return each reason with the words that stand below it in the code."""
    (declared,) = ast.parse(inspect.getsource(RejectReason)).body
    assert isinstance(declared, ast.ClassDef)
    for assigned, says in pairwise(declared.body):
        if isinstance(assigned, ast.Assign) and isinstance(says, ast.Expr):
            yield ast.literal_eval(assigned.value), ast.literal_eval(says.value)


def pages() -> Mapping[Path, str]:
    """Return the content of every generated page."""
    made = {"commands.md": commands_page(), "tables.md": tables_page(), "names.md": names_page()}
    return {REFERENCE / name: content for name, content in made.items()}


if __name__ == "__main__":
    for path, content in pages().items():
        path.write_text(content)
