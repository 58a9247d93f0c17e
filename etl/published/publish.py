"""Writes the tables as Parquet and publishes them by one rename, so that a reader sees all of a run or nothing.

A part holds the rows of one bucket of a window and is never changed: when a later window computes an episode anew, the
parts with rows of its traces are written anew without them. The watermark names the parts that count. What it does not
name is left over from a run that died, or was replaced, and is removed once the watermark is durable.
"""

import errno
import io
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import polars as pl

from etl.episodes.grouping import Trace
from etl.published import index
from etl.published.window import Window
from etl.schema import (
    SCHEMA_VERSION,
    TABLES,
    check_layout,
    column_comments,
    columns_path,
    dataset_directory,
    read_watermark,
    table_files,
    watermark_path,
)
from etl.tables import Dataset
from foundation.errors import SpanloopError
from foundation.files import write_atomically, write_json
from foundation.narration import get_logger
from foundation.state import with_digest
from receiver.schema import show_files

log = get_logger("etl")

COMPRESSION_LEVEL = 3
ROW_GROUP_ROWS = 65_536
DIGEST_DIGITS = 12


def load_watermark(data: Path) -> dict[str, Any]:
    """Return what is published; before the first run that is nothing."""
    watermark = read_watermark(data)
    if watermark is None:
        return {"schema_version": SCHEMA_VERSION, "received_seq": 0, "windows": [], "pending": []}
    check_layout(watermark, watermark_path(data))
    return watermark


OF_THE_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES}


@contextmanager
def writing(data: Path) -> Iterator[None]:
    """Say in the words of a user what the disk refuses. What is published is not touched by it."""
    try:
        yield
    except OSError as error:
        if error.errno not in OF_THE_DISK:
            raise
        raise SpanloopError(
            f"cannot write to {data / 'dataset'}: {error.strerror}",
            hint="What is published is whole. Make it writable, or make room, and run again.",
        ) from error


Files = dict[str, list[str]]
"""Names of part files by table."""


def write_part(data: Path, window: Window, dataset: Dataset) -> Files:
    """Write the rows of one bucket, unpublished, and return the files' names."""
    return {table: [_write(data, table, window.name, rows)] for table, rows in dataset.tables.items() if rows.height}


def rewrite(data: Path, table: str, window: Window, name: str, change: Callable[[pl.DataFrame], pl.DataFrame]) -> str:
    """Write the rows of an unpublished part anew and return its name, which is the same where nothing changed."""
    return _write(data, table, window.name, change(pl.read_parquet(dataset_directory(data, table) / name)))


def publish(
    data: Path,
    window: Window,
    traces: Collection[Trace],
    parts: Iterable[Files],
    pending: Collection[Trace],
    received_seq: int,
    *,
    receivers: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """Replace all rows of these traces by the parts', and move the watermark; return it.

    `receivers`: how far each of several is processed now, by URL; none are named: as far as before.
    """
    watermark = load_watermark(data)
    replaced = pl.DataFrame(sorted(traces), schema={"project": pl.String, "trace_id": pl.String}, orient="row")
    known = index.Index(data)
    looked_at = {path for table in TABLES for path in known.files(table, index.TRACE, traces)}
    windows = [dict(entry) for entry in watermark["windows"]]
    for entry in windows:
        entry["files"] = _without(data, entry, replaced, looked_at)
    own = next((entry for entry in windows if entry["window"] == window.name), None)
    if own is None:
        own = {"window": window.name, "since_seq": window.since_seq, "until_seq": window.until_seq, "files": {}}
        windows.append(own)
    parts = list(parts)
    for part in parts:
        for table, names in part.items():
            own["files"][table] = sorted({*own["files"].get(table, ()), *names})
    updated = {
        "schema_version": SCHEMA_VERSION,
        "received_seq": received_seq,
        **({"receivers": dict(reached)} if (reached := receivers or watermark.get("receivers")) else {}),
        "windows": [entry for entry in windows if entry["files"]],
        "pending": [list(trace) for trace in sorted(pending)],
    }
    write_json(columns_path(data), column_comments())
    write_json(watermark_path(data), with_digest(updated))
    sweep(data, forget=not parts)
    return updated


def _without(data: Path, entry: dict[str, Any], replaced: pl.DataFrame, looked_at: Collection[Path]) -> Files:
    """Return the files of a window once the replaced rows are out of them; untouched ones stay the files they are.

    `looked_at`: the parts that may have such rows.
    """
    files: Files = {}
    for table, names in entry["files"].items():
        kept: list[str] = []
        for name in names:
            path = dataset_directory(data, table) / name
            if path not in looked_at or not _touches(path, table, replaced):
                kept.append(name)
                continue
            rows = _drop(table, pl.read_parquet(path), replaced)
            if rows.height:
                kept.append(_write(data, table, entry["window"], rows))
        if kept:
            files[table] = sorted(kept)
    return files


def _touches(path: Path, table: str, replaced: pl.DataFrame) -> bool:
    keys = pl.scan_parquet(path).select("project", _trace_id(table)).unique()
    return not keys.join(replaced.lazy(), on=["project", "trace_id"], how="semi").head(1).collect().is_empty()


def _trace_id(table: str) -> pl.Expr:
    """Return the trace a row belongs to; all traces of an episode are replaced together, so its first one tells."""
    return pl.col("trace_ids").list.first().alias("trace_id") if table == "episodes" else pl.col("trace_id")


def _drop(table: str, rows: pl.DataFrame, replaced: pl.DataFrame) -> pl.DataFrame:
    marked = rows.with_columns(_trace=_trace_id(table))
    return marked.join(
        replaced, left_on=["project", "_trace"], right_on=["project", "trace_id"], how="anti", maintain_order="left"
    ).drop("_trace")


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


def sweep(data: Path, *, forget: bool = False) -> None:
    """Have SQL show and the index know the parts that the watermark names, and remove those it does not.

    `forget`: nothing is left in the index of what is gone.
    """
    watermark = load_watermark(data)
    if watermark_path(data).exists():
        show_files(data, {table: table_files(data, table) for table in TABLES})
    for table in TABLES:
        named = {name for entry in watermark["windows"] for name in entry["files"].get(table, ())}
        directory = dataset_directory(data, table)
        for path in directory.glob("*.parquet") if directory.exists() else ():
            if path.name not in named:
                path.unlink()
    try:
        index.update(data, forget=forget)
    except OSError as error:
        log.warning("the index of what is published is not up to date: runs are slower", error=error.strerror)
