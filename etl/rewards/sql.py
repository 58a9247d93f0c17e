"""Rewards defined in SQL: a file that returns (trace_id, name, value) over the spans and log records at hand."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from etl.rewards.given import Reward
from foundation.errors import SettingsError

REQUIRED = ("trace_id", "name", "value")
OPTIONAL = ("project", "span_id", "label", "explanation", "time_ns")
PREFIX = "sql:"


@dataclass(frozen=True, slots=True)
class RewardQuery:
    """One file of SQL."""

    path: Path
    sql: str

    @property
    def source(self) -> str:
        """Return what its rewards have as source: `sql:` and the file's name."""
        return PREFIX + self.path.stem


def read_queries(directory: Path | None) -> list[RewardQuery]:
    """Read every `*.sql` of a directory, in order of name."""
    if directory is None:
        return []
    if not directory.is_dir():
        raise SettingsError(f"reward_sql = {str(directory)!r} is no directory", hint="Name one that holds *.sql files.")
    return [RewardQuery(path, path.read_text()) for path in sorted(directory.glob("*.sql"))]


def query_rewards(queries: Sequence[RewardQuery], spans: pl.DataFrame, logs: pl.DataFrame) -> list[Reward]:
    """Run the queries over tables `spans` and `log_records`, which hold whole traces; no files, no network.

    Without a `project` column a row belongs to every project that has the trace; without `time_ns` the reward was given
    when its trace ended.
    """
    if not queries or spans.is_empty():
        return []
    traces = spans.group_by("project", "trace_id").agg(pl.col("end_ns").max()).sort("project", "trace_id")
    ended: dict[str, list[tuple[str, int]]] = {}
    for project, trace_id, end_ns in traces.iter_rows():
        ended.setdefault(trace_id, []).append((project, end_ns))
    found: list[Reward] = []
    with closing(duckdb.connect(":memory:")) as connection:
        connection.register("spans", spans.to_arrow())
        connection.register("log_records", logs.to_arrow())
        connection.execute("set enable_external_access = false")
        connection.execute("set lock_configuration = true")
        for query in queries:
            for row in _rows(connection, query):
                found += _rewards(row, query, ended)
    found.sort(key=lambda reward: (reward.source, reward.project, reward.trace_id or "", reward.span_id or ""))
    return found


def _rows(connection: duckdb.DuckDBPyConnection, query: RewardQuery) -> list[dict[str, Any]]:
    try:
        cursor = connection.execute(query.sql)
        names = [column[0] for column in cursor.description or ()]
        rows = [dict(zip(names, values, strict=True)) for values in cursor.fetchall()]
    except duckdb.Error as error:
        raise SettingsError(f"{query.path}: {error}", hint="Try it: spanloop sql") from error
    missing = [name for name in REQUIRED if name not in names]
    unknown = [name for name in names if name not in (*REQUIRED, *OPTIONAL)]
    if missing or unknown:
        raise SettingsError(
            f"{query.path} returns {', '.join(names)}",
            hint=f"Return {', '.join(REQUIRED)}, and any of {', '.join(OPTIONAL)}.",
        )
    return rows


def _rewards(row: dict[str, Any], query: RewardQuery, ended: dict[str, list[tuple[str, int]]]) -> list[Reward]:
    value = row["value"]
    return [
        Reward(
            project,
            row["trace_id"],
            row.get("span_id"),
            str(row["name"]),
            None if value is None else float(value),
            row.get("label"),
            row.get("explanation"),
            query.source,
            end_ns if row.get("time_ns") is None else int(row["time_ns"]),
        )
        for project, end_ns in ended.get(row["trace_id"], ())
        if row.get("project") in (None, project)
    ]
