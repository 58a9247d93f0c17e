"""Writes from the code: commands, tables with their columns, the names spans are read by; and JavaScript's patterns.

Run it with `make docs`; tests/test_docs.py says when a page is behind the code.
"""

import ast
import inspect
import json
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
from otel_exporter import redaction, sensitive
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


def javascript(pattern: re.Pattern[str]) -> list[str]:
    r"""Return a pattern as JavaScript has it, source and flags: letters and digits are those of all scripts there, too.

    >>> javascript(re.compile(r"[\w-]+\"\d"))
    ['[\\p{L}\\p{N}_-]+"\\p{Nd}', 'gu']
    """
    is_ascii = bool(pattern.flags & re.ASCII)
    source = ""
    is_in_class = False
    for part in re.findall(r"\\.|.", pattern.pattern, re.DOTALL):
        if part in ("\\w", "\\d") and not is_ascii:
            inner = "\\p{L}\\p{N}_" if part == "\\w" else "\\p{Nd}"
            source += f"[{inner}]" if part == "\\w" and not is_in_class else inner
        elif part in ("\\Z", '\\"', "\\'"):
            source += "$" if part == "\\Z" else part[1]
        else:
            source += part
        is_in_class = part == "[" or (is_in_class and part != "]")
    flags = "i" * bool(pattern.flags & re.IGNORECASE) + "s" * bool(pattern.flags & re.DOTALL)
    return [source, f"g{flags}u"]


def patterns_module() -> str:
    """Return the patterns of redaction as a module of JavaScript."""
    found = {
        name.removeprefix("_"): one
        for module in (sensitive, redaction)
        for name, one in vars(module).items()
        if isinstance(one, re.Pattern) and "HINT" not in name
    }
    lines = [f"  {name}: {json.dumps(javascript(one))}," for name, one in sorted(found.items())]
    head = "// Written by `make docs` from otel_exporter/sensitive.py and redaction.py: source and flags of patterns.\n"
    kinds = f"export const KINDS = {json.dumps(sensitive.KINDS)};\n"
    return "\n".join([head, kinds, "export const PATTERNS = {", *lines, "};", ""])


def pages() -> Mapping[Path, str]:
    """Return the content of every generated page."""
    made = {"commands.md": commands_page(), "tables.md": tables_page(), "names.md": names_page()}
    pages = {REFERENCE / name: content for name, content in made.items()}
    return {**pages, REFERENCE.parents[1] / "otel_exporter" / "js" / "patterns.js": patterns_module()}


if __name__ == "__main__":
    for path, content in pages().items():
        path.write_text(content)
