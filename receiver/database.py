"""The in-memory database that sees the day files and the dataset, set up so that no statement reaches anything else."""

import contextlib
import os
import secrets
import shutil
from pathlib import Path

import duckdb

from receiver.tables import literal, spans_directory

CACHE_BYTES = 64 << 20
"""Blocks of the day files that a receiver keeps in memory for good. The kernel's cache has the files as well."""

MAX_TEMP_BYTES = 4 << 30
"""Most disk that a database may use beside its memory; at most a quarter of what is free."""


def open_database(
    data: Path, *, memory_limit: str, writable: Path | None = None, has_bounded_cache: bool = False
) -> duckdb.DuckDBPyConnection:
    """Open an in-memory database that can attach the day files and read the dataset, and touch no other file.

    Only where copies are made there is one more directory, `writable`. The settings are locked: no statement that runs
    in it later can change them, but for the memory limit where `bound_cache` is to.
    """
    connection = duckdb.connect(":memory:", config={"python_enable_replacements": "false"})
    places = [spans_directory(data), data / "dataset", data / "checkpoints", *([writable] if writable else [])]
    directories = [f"{path.absolute()}/" for path in places]
    temp = temp_path(data, os.getpid()) / secrets.token_hex(4)
    connection.execute("set TimeZone = 'UTC'")
    connection.execute(f"set memory_limit = {literal(memory_limit)}")
    connection.execute(
        "set wal_autocheckpoint = '4GB'"
    )  # each checkpoint recompresses the open row group: ours to time
    # Else what its allocator was handed back stays resident until somebody allocates in the same place again.
    connection.execute("set allocator_background_threads = true")
    connection.execute("set autoinstall_known_extensions = false")
    connection.execute("set autoload_known_extensions = false")
    connection.execute("set allow_community_extensions = false")
    connection.execute(f"set temp_directory = {literal(str(temp.absolute()))}")
    connection.execute(f"set max_temp_directory_size = '{_temp_bytes(data)} bytes'")
    connection.execute(f"set allowed_directories = [{', '.join(literal(path) for path in directories)}]")
    connection.execute("set enable_external_access = false")
    if has_bounded_cache:
        connection.execute("set allowed_configs = ['memory_limit']")
    connection.execute("set lock_configuration = true")
    return connection


def bound_cache(connection: duckdb.DuckDBPyConnection, *, memory_limit: str) -> None:
    """Let go of what is kept of the day files in memory beyond `CACHE_BYTES`: else it grows with them up to the limit.

    DuckDB has no limit for these blocks alone, but evicts them, the longest unused first, when its limit is lowered:
    for a moment, and no further than leaves whoever works beside it what it holds and as much again as the cache may.
    """
    used = dict(connection.execute("select tag, memory_usage_bytes from duckdb_memory()").fetchall())
    if used["BASE_TABLE"] <= CACHE_BYTES:
        return
    kept = sum(used.values()) - used["BASE_TABLE"] + CACHE_BYTES
    try:
        with contextlib.suppress(duckdb.OutOfMemoryException):  # so much of it is in use; the next minute will do
            connection.execute(f"set memory_limit = '{kept} bytes'")
    finally:
        connection.execute(f"set memory_limit = {literal(memory_limit)}")


def temp_path(data: Path, pid: int) -> Path:
    """Return the directory a process spills to: its own, since files in it are numbered from 0 in each."""
    return data / "sql-temp" / str(pid)


def remove_dead_temps(data: Path) -> None:
    """Remove what processes that were killed have spilled. Their numbers are this machine's."""
    for path in (data / "sql-temp").glob("*"):
        with contextlib.suppress(ValueError, OSError):
            if not Path(f"/proc/{int(path.name)}").exists():
                shutil.rmtree(path)


def _temp_bytes(data: Path) -> int:
    """Return what queries may spill to disk: never so much that landing finds none."""
    existing = next(path for path in (data.absolute(), *data.absolute().parents) if path.exists())
    return min(MAX_TEMP_BYTES, shutil.disk_usage(existing).free // 4)
