"""Runs one SELECT on a SQLite file and nothing else: read-only, bounded in work, rows and size of values.

Work is counted in instructions of SQLite's virtual machine, so a query is cut off at the same point on every machine.
"""

import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Row = tuple[Any, ...]

ALLOWED = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
"""What a query may do. Writes, ATTACH, PRAGMA and transactions are not among it."""

BETWEEN_LOOKS = 1000
"""Instructions between two looks at the limits."""


class QueryFailed(Exception):
    """A query that gave no result, with a reason that may be shown to the model."""


@dataclass(frozen=True)
class Limits:
    """How much a query may cost."""

    instructions: int = 20_000_000
    """Of SQLite's virtual machine, about a second or two of one core."""

    seconds: float = 20.0
    """Of wall clock, for what is slow within one instruction."""

    rows: int = 20_000
    value_bytes: int = 1_000_000
    """Of one text or blob, and of the query itself."""


def run_query(database: Path, sql: str, limits: Limits = Limits()) -> list[Row]:
    """Return the rows of one SELECT statement.

    Text that is not UTF-8 loses what cannot be read. Raises `QueryFailed` for everything else: what is not one SELECT,
    what SQLite refuses, and what exceeds a limit; `FileNotFoundError` where there is no such database.
    """
    if not database.is_file():
        raise FileNotFoundError(f"no database {database.name} in {database.parent}")
    deadline = time.monotonic() + limits.seconds
    looks_left = limits.instructions // BETWEEN_LOOKS
    exceeded = ""

    def look() -> int:
        nonlocal looks_left, exceeded
        looks_left -= 1
        if looks_left < 0 or time.monotonic() > deadline:
            exceeded = "the query takes too long"
        return bool(exceeded)

    def permit(action: int, *_: object) -> int:
        return sqlite3.SQLITE_OK if action in ALLOWED else sqlite3.SQLITE_DENY

    with closing(sqlite3.connect(f"file:{quoted(database)}?mode=ro&immutable=1", uri=True)) as connection:
        connection.text_factory = lambda text: text.decode(errors="ignore")
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, limits.value_bytes)
        connection.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, min(limits.value_bytes, 100_000))
        connection.set_authorizer(permit)
        connection.set_progress_handler(look, BETWEEN_LOOKS)
        try:
            cursor = connection.execute(sql)
            if cursor.description is None:
                raise QueryFailed("this is not a SELECT statement")
            rows = cursor.fetchmany(limits.rows + 1)
        except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError, MemoryError) as error:
            raise QueryFailed(exceeded or str(error) or type(error).__name__) from error
    if len(rows) > limits.rows:
        raise QueryFailed(f"the result has more than {limits.rows} rows")
    return rows


def quoted(path: Path) -> str:
    """Return a path as it stands in a URI."""
    return path.absolute().as_uri().removeprefix("file://")


def show(rows: Sequence[Row], *, max_rows: int, max_chars: int) -> str:
    r"""Return a result as a model is shown it: one row a line, cut to so many rows and characters.

    >>> show([("Ada", 36), ("Ben", None)], max_rows=1, max_chars=100)
    'Ada | 36\n... 1 more rows'
    """
    lines = [
        " | ".join("NULL" if value is None else str(value)[:max_chars] for value in row) for row in rows[:max_rows]
    ]
    if len(rows) > max_rows:
        lines.append(f"... {len(rows) - max_rows} more rows")
    return "\n".join(lines)[:max_chars] if rows else "(no rows)"
