"""Writes a published table to stdout or a file: JSON lines, as they are or for another trainer, or one Parquet file."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import orjson
import polars as pl

from etl.interchange import FORMATS
from etl.schema import TABLES, table_files
from etl.tables import ORDER, polars_schema
from foundation.errors import SettingsError

Table = Literal["llm_calls", "tool_calls", "rewards", "episodes", "transitions", "rejected"]
Format = Literal["jsonl", "parquet", "trl", "verl", "datasets", "openai"]

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
    "signals",
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
    if form in FORMATS:
        if table != "transitions":
            raise SettingsError(f"{form} is a format of transitions, not of {table}", hint="--what transitions")
        rows = rows.filter(pl.col("observation").is_not_null() & pl.col("action").is_not_null())
    shape = FORMATS.get(form)
    with _output(to) as file:
        for row in rows.iter_rows(named=True):
            line = decoded(table, row)
            line = line if shape is None else shape(line)
            file.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
    return rows.height


def read_table(data: Path, table: str) -> pl.DataFrame:
    """Return every published row of a table, in its order."""
    files = table_files(data, table)
    if not files:
        return pl.DataFrame(schema=polars_schema(TABLES[table]))
    return pl.concat([pl.read_parquet(file) for file in files]).sort(*ORDER[table], nulls_last=True)


def decoded(table: str, row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with its JSON parsed; an answer has its token ids and log-probabilities in it, where known."""
    line = {
        name: orjson.loads(value)
        if name in JSON_COLUMNS and isinstance(value, str) and (table, name) != ("tool_calls", "error")
        else value
        for name, value in row.items()
    }
    if table == "llm_calls" and line["output"] and line["response_token_ids"] is not None:
        logprobs = line["behavior_logprobs"]
        line["output"][0] |= {
            "token_ids": line["response_token_ids"],
            "logprobs": None if logprobs is None else [float(str(np.float32(value))) for value in logprobs],
        }
    return line


@contextmanager
def _output(to: Path | None) -> Iterator[IO[bytes]]:
    if to is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    with to.open("wb") as file:
        yield file
