"""Writes a published table to stdout or a file: JSON lines, as they are or for another trainer, or one Parquet file."""

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import orjson
import polars as pl
import pyarrow.parquet as pq

from etl.exports.interchange import FORMATS, VERL_SCHEMA, lacks_media, openai_refuses, verl_table
from etl.schema import table_files
from etl.tables import ORDER, scan
from foundation.errors import SettingsError
from foundation.narration import get_logger

log = get_logger("etl")

BATCH_ROWS = 10_000

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
    "media",
    "action",
    "next_observation",
    "signals",
}
"""Columns that hold JSON text. A tool call's `error` and `result` are plain text."""


def export(data: Path, table: Table, form: Format, to: Path | None) -> int:
    """Write the rows of a published table and return how many there are."""
    if form in {"parquet", "verl"} and to is None:
        raise SettingsError(
            f"{form} is Parquet, which is not written to stdout", hint="Name a file: --to calls.parquet"
        )
    rows = read_table(data, table)
    if form == "parquet":
        assert to is not None
        rows.write_parquet(to, compression="zstd")
        return rows.height
    if form in FORMATS:
        if table != "transitions":
            raise SettingsError(f"{form} is a format of transitions, not of {table}", hint="--what transitions")
        rows = rows.filter(pl.col("observation").is_not_null() & pl.col("action").is_not_null())
    plain = (decoded(table, row) for row in rows.iter_rows(named=True))
    without: Counter[str] = Counter()
    lines = map(FORMATS[form], _with_media(plain, without)) if form in FORMATS else plain
    if form == "verl":
        assert to is not None
        written = _write_verl(lines, to)
        _tell_left_out(without)
        return written
    written = 0
    refused: Counter[str] = Counter()
    with _output(to) as file:
        for line in lines:
            reason = openai_refuses(line) if form == "openai" else None
            if reason is None:
                file.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
                written += 1
            else:
                refused[reason] += 1
    if refused:
        log.warning("left out what OpenAI would refuse", **refused)
    _tell_left_out(without)
    return written


def _with_media(rows: Iterator[dict[str, Any]], without: Counter[str]) -> Iterator[dict[str, Any]]:
    """Return the transitions whose media are all there, and count the others."""
    for row in rows:
        if lacks_media(row):
            without["transitions"] += 1
        else:
            yield row


def _tell_left_out(without: Counter[str]) -> None:
    if without:
        log.warning("left out what was shown media (images, files) that are not recorded", **without)


def _write_verl(lines: Iterator[dict[str, Any]], to: Path) -> int:
    written = 0
    with pq.ParquetWriter(to, VERL_SCHEMA, compression="zstd") as writer:
        while batch := list(islice(lines, BATCH_ROWS)):
            writer.write_table(verl_table(batch))
            written += len(batch)
    return written


def read_table(data: Path, table: str) -> pl.DataFrame:
    """Return every published row of a table, in its order."""
    return scan(table, table_files(data, table)).collect().sort(*ORDER[table], nulls_last=True)


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
        line["output"][line["choice"] or 0] |= {
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
