"""Frames in exactly the published columns, in an order that depends on their content alone."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import polars as pl
import pyarrow as pa

from etl.schema import NOT_TAKEN, TABLES, Columns

TYPES: dict[str, pl.DataType] = {
    "String": pl.String(),
    "Boolean": pl.Boolean(),
    "Int32": pl.Int32(),
    "Int64": pl.Int64(),
    "Float64": pl.Float64(),
    "List(Int32)": pl.List(pl.Int32()),
    "List(Int64)": pl.List(pl.Int64()),
    "List(Float32)": pl.List(pl.Float32()),
    "List(String)": pl.List(pl.String()),
}
"""Polars types by the names the contract spells them with."""

ORDER: dict[str, tuple[str, ...]] = {
    "llm_calls": ("project", "episode_id", "start_ns", "trace_id", "span_id"),
    "tool_calls": ("project", "episode_id", "start_ns", "trace_id", "span_id", "tool_call_id"),
    "rewards": ("project", "trace_id", "span_id", "time_ns", "name", "value", "source", "label", "explanation"),
    "episodes": ("project", "episode_id"),
    "transitions": ("project", "episode_id", "step", "choice"),
    "rejected": ("project", "trace_id", "span_id", "stage", "reason"),
}

IS_TAKEN = pl.col("stop_reason").ne_missing(NOT_TAKEN)
"""Rows of transitions that are what happened; the others are choices that were not gone on from."""

Row = Mapping[str, Any]


@dataclass(slots=True)
class Dataset:
    """The published tables, with what the report says about how they came to be."""

    tables: dict[str, pl.DataFrame]
    counts: dict[str, Any] = field(default_factory=dict)
    pending: list[tuple[str, str]] = field(default_factory=list)
    """(project, trace_id) of traces that are not complete yet, so nothing of them is in the tables."""


def polars_schema(columns: Columns) -> dict[str, pl.DataType]:
    """Return the Polars types of a published table."""
    return {name: TYPES[kind] for name, kind in columns.items()}


STEP = 1 << 40
"""What the numbers of one receiver's requests are put apart by from those of the next (`etl.runs.several`)."""


def last_told(numbers: Iterable[int]) -> int:
    """Return the last of some requests; of several receivers the sum of each one's last, so that any later one shows.

    >>> last_told([3, 7]), last_told([3, 7, STEP + 2]), last_told([3, 7, STEP + 4])
    (7, 9, 11)
    """
    last: dict[int, int] = {}
    for number in numbers:
        receiver, own = divmod(int(number), STEP)
        last[receiver] = max(own, last.get(receiver, 0))
    return sum(last.values())


def scan(table: str, files: Sequence[Path]) -> pl.LazyFrame:
    """Return the rows of a published table's files; a column that was added after a file was written is null in it."""
    schema = polars_schema(TABLES[table])
    if not files:
        return pl.LazyFrame(schema=schema)
    return pl.scan_parquet(list(files), schema=schema, missing_columns="insert", extra_columns="ignore")


def in_order(table: str, rows: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of a table in its order."""
    return rows.sort(*ORDER[table], nulls_last=True, maintain_order=True)


def columns(schema: Columns, rows: Sequence[Row]) -> pl.DataFrame:
    """Return rows, each of which names every column, as a frame in their order.

    Lists are laid out for Arrow here: Polars takes ten times as long, and `pyarrow.array` imports pandas, where it is
    installed, which costs a process half a second.
    """
    values = zip(*map(itemgetter(*schema), rows), strict=True) if rows else ((),) * len(schema)
    return pl.DataFrame([_series(name, kind, own) for (name, kind), own in zip(schema.items(), values, strict=True)])


def _series(name: str, kind: str, values: Sequence[Any]) -> pl.Series:
    dtype = TYPES[kind]
    if not isinstance(dtype, pl.List):
        return pl.Series(name, values, dtype=dtype, strict=True)
    given = [value for value in values if value is not None and len(value)]
    flat = np.concatenate(given) if given and isinstance(given[0], np.ndarray) else list(chain.from_iterable(given))
    items = pl.Series(flat, dtype=dtype.inner, strict=True).to_arrow()
    ends = np.cumsum([0, *(0 if value is None else len(value) for value in values)], dtype=np.int64)
    is_there = np.packbits(np.array([value is not None for value in values], dtype=np.bool_), bitorder="little")
    buffers = [pa.py_buffer(is_there), pa.py_buffer(ends)]
    lists = pl.from_arrow(pa.Array.from_buffers(pa.large_list(items.type), len(values), buffers, children=[items]))
    assert isinstance(lists, pl.Series)
    return lists.alias(name).cast(dtype)


def json_text(value: Any) -> str | None:  # noqa: ANN401 - any JSON value
    """Return a value as JSON text; None stays null, and what JSON has no form for becomes text."""
    if value is None:
        return None
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # deeper than orjson writes, integers beyond 64 bits, half an emoji
        return json.dumps(value, default=str, separators=(",", ":"))
