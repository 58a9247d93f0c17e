"""Writes the tables as Parquet and publishes them by one rename, so that a reader sees all of a run or nothing.

A part holds the rows of one window and is never changed: when a later window computes an episode anew, the parts with
rows of its traces are written anew without them. The watermark names the parts that count. What it does not name is
left over from a run that died, or was replaced, and is removed once the watermark is durable.
"""

import io
from collections.abc import Collection
from hashlib import sha256
from pathlib import Path
from typing import Any

import polars as pl

from etl.episodes import Trace
from etl.schema import (
    SCHEMA_VERSION,
    TABLES,
    dataset_directory,
    read_watermark,
    watermark_path,
)
from etl.source import Window
from etl.tables import ORDER, Dataset
from foundation.errors import SpanloopError
from foundation.files import write_atomically, write_json

COMPRESSION_LEVEL = 3
ROW_GROUP_ROWS = 65_536
DIGEST_DIGITS = 12


def load_watermark(data: Path) -> dict[str, Any]:
    """Return what is published; before the first run that is nothing."""
    watermark = read_watermark(data)
    if watermark is None:
        return {"schema_version": SCHEMA_VERSION, "received_seq": 0, "windows": [], "pending": []}
    if watermark["schema_version"] != SCHEMA_VERSION:
        raise SpanloopError(
            f"{watermark_path(data)} has layout {watermark['schema_version']}, this version writes {SCHEMA_VERSION}",
            hint=f"Move {watermark_path(data).parent} away; the next run builds it anew from the spans.",
        )
    return watermark


def publish(
    data: Path, window: Window, traces: Collection[Trace], dataset: Dataset, received_seq: int
) -> dict[str, Any]:
    """Replace all rows of these traces by the dataset's, and move the watermark; return it."""
    watermark = load_watermark(data)
    replaced = pl.DataFrame(sorted(traces), schema={"project": pl.String, "trace_id": pl.String}, orient="row")
    windows = [dict(entry) for entry in watermark["windows"]]
    own = next((entry for entry in windows if entry["window"] == window.name), None)
    for entry in windows:
        if entry is not own:
            entry["files"] = _without(data, entry, replaced)
    kept = {} if own is None else {table: _remaining(data, own, table, replaced) for table in TABLES}
    if own is None:
        own = {"window": window.name, "since_seq": window.since_seq, "until_seq": window.until_seq}
        windows.append(own)
    own["files"] = {}
    for table, rows in dataset.tables.items():
        earlier = kept.get(table)
        if earlier is not None and earlier.height:
            rows = pl.concat([earlier, rows]).sort(*ORDER[table], nulls_last=True, maintain_order=True)
        if rows.height:
            own["files"][table] = [_write(data, table, window.name, rows)]
    updated = {
        "schema_version": SCHEMA_VERSION,
        "received_seq": received_seq,
        "windows": [entry for entry in windows if entry["files"]],
        "pending": [list(trace) for trace in dataset.pending],
    }
    write_json(watermark_path(data), updated)
    sweep(data)
    return updated


def _without(data: Path, entry: dict[str, Any], replaced: pl.DataFrame) -> dict[str, list[str]]:
    """Return the files of a window once the replaced rows are out of them; untouched ones stay the files they are."""
    files: dict[str, list[str]] = {}
    for table in entry["files"]:
        before = read_part(data, entry, table)
        after = _drop(table, before, replaced)
        if after.height == before.height:
            files[table] = entry["files"][table]
        elif after.height:
            files[table] = [_write(data, table, entry["window"], after)]
    return files


def _remaining(data: Path, entry: dict[str, Any], table: str, replaced: pl.DataFrame) -> pl.DataFrame:
    return _drop(table, read_part(data, entry, table), replaced)


def read_part(data: Path, entry: dict[str, Any], table: str) -> pl.DataFrame:
    """Read a window's rows of one table."""
    paths = [dataset_directory(data, table) / name for name in entry["files"].get(table, ())]
    return pl.concat([pl.read_parquet(path) for path in paths]) if paths else pl.DataFrame()


def _drop(table: str, rows: pl.DataFrame, replaced: pl.DataFrame) -> pl.DataFrame:
    if not rows.height:
        return rows
    if table != "episodes":
        return rows.join(replaced, on=["project", "trace_id"], how="anti", maintain_order="left")
    # All traces of an episode are replaced together, so its first one tells.
    return (
        rows.with_columns(trace_id=pl.col("trace_ids").list.first())
        .join(replaced, on=["project", "trace_id"], how="anti", maintain_order="left")
        .drop("trace_id")
    )


def _write(data: Path, table: str, window: str, rows: pl.DataFrame) -> str:
    """Write a part and return its name; the digest in it makes equal content one file."""
    buffer = io.BytesIO()
    rows.write_parquet(
        buffer, compression="zstd", compression_level=COMPRESSION_LEVEL, row_group_size=ROW_GROUP_ROWS, statistics=True
    )
    content = buffer.getvalue()
    name = f"part-{window}-{sha256(content).hexdigest()[:DIGEST_DIGITS]}.parquet"
    path = dataset_directory(data, table) / name
    if not path.exists():
        write_atomically(path, content)
    return name


def sweep(data: Path) -> None:
    """Remove the parts that the watermark does not name."""
    watermark = load_watermark(data)
    for table in TABLES:
        named = {name for entry in watermark["windows"] for name in entry["files"].get(table, ())}
        directory = dataset_directory(data, table)
        for path in directory.glob("*.parquet") if directory.exists() else ():
            if path.name not in named:
                path.unlink()
