"""Writes the reference pages from the code: commands with their settings, tables with their columns.

Run it with `make docs`; tests/test_docs.py says when a page is behind the code.
"""

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from unittest.mock import patch

import etl.columns
import receiver.schema
import train.schema
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
    for name, columns in receiver.schema.TABLES.items():
        parts.append(f"\n## {name}\n\nWritten by the receiver.\n\n| column | type | meaning |\n|---|---|---|\n")
        parts.extend(f"| `{column.name}` | {column.type} | {column.description} |\n" for column in columns)
    for name, declared in etl.columns.TABLES.items():
        parts.append(f"\n## {name}\n\nWritten by the ETL.\n\n| column | type | meaning |\n|---|---|---|\n")
        parts.extend(f"| `{column.name}` | {column.type} | {column.description} |\n" for column in declared)
    parts.append("\n## credit\n\nWritten by the trainer.\n\n| column | Polars type |\n|---|---|\n")
    parts.extend(f"| `{column}` | {kind} |\n" for column, kind in train.schema.CREDIT.items())
    return "".join(parts)


def pages() -> Mapping[Path, str]:
    """Return the content of every generated page."""
    return {REFERENCE / "commands.md": commands_page(), REFERENCE / "tables.md": tables_page()}


if __name__ == "__main__":
    for path, content in pages().items():
        path.write_text(content)
