"""Writes a published table to stdout or a file: JSON lines with messages as JSON, or one Parquet file."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal

import orjson
import polars as pl

from etl.schema import TABLES, table_files
from etl.tables import ORDER, polars_schema
from foundation.errors import SettingsError

Table = Literal["llm_calls", "tool_calls", "rewards", "episodes", "transitions", "rejected"]
Format = Literal["jsonl", "parquet"]

JSON_COLUMNS = {
    "params",
    "tools",
    "input",
    "output",
    "usage",
    "error",
    "arguments",
    "observation",
    "action",
    "next_observation",
}
"""Columns that hold JSON text. A tool call's `error` and `result` are plain text."""


def export(data: Path, table: Table, form: Format, to: Path | None) -> int:
    """Write the rows of a published table and return how many there are."""
    rows = read_table(data, table)
    if form == "parquet":
        if to is None:
            raise SettingsError("Parquet is not written to stdout", hint="Name a file: --to calls.parquet")
        rows.write_parquet(to, compression="zstd")
        return rows.height
    with _output(to) as file:
        for row in rows.iter_rows(named=True):
            file.write(orjson.dumps(_decoded(table, row), option=orjson.OPT_APPEND_NEWLINE))
    return rows.height


def read_table(data: Path, table: str) -> pl.DataFrame:
    """Return every published row of a table, in its order."""
    files = table_files(data, table)
    if not files:
        return pl.DataFrame(schema=polars_schema(TABLES[table]))
    return pl.concat([pl.read_parquet(file) for file in files]).sort(*ORDER[table], nulls_last=True)


def _decoded(table: str, row: dict[str, Any]) -> dict[str, Any]:
    return {
        name: orjson.loads(value)
        if name in JSON_COLUMNS and isinstance(value, str) and (table, name) != ("tool_calls", "error")
        else value
        for name, value in row.items()
    }


@contextmanager
def _output(to: Path | None) -> Iterator[IO[bytes]]:
    if to is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    with to.open("wb") as file:
        yield file
