"""Rewards defined in SQL: a file that returns (trace_id, name, value) over the spans and log records at hand."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import duckdb
import polars as pl

from etl.rewards.given import UNNAMED, Reward
from foundation.errors import SettingsError

REQUIRED = ("trace_id", "name", "value")
TYPES: dict[str, type[pl.DataType]] = {
    "project": pl.String,
    "trace_id": pl.String,
    "span_id": pl.String,
    "name": pl.String,
    "value": pl.Float64,
    "label": pl.String,
    "explanation": pl.String,
    "time_ns": pl.Int64,
}
"""Columns a query may return, and what they are taken as."""

FITS: dict[type[pl.DataType], Callable[[pl.DataType], bool]] = {
    pl.String: lambda kind: kind in (pl.String, pl.Categorical, pl.Enum, pl.Null),
    pl.Float64: lambda kind: kind.is_numeric() or kind in (pl.Boolean, pl.Null),
    pl.Int64: lambda kind: kind.is_integer() or kind == pl.Null,
}
WORDS: dict[type[pl.DataType], str] = {pl.String: "text", pl.Float64: "a number", pl.Int64: "an integer"}
PREFIX = "sql:"

MAX_ROWS = 1_000_000
"""Rewards a query may give in one bucket: more than any meant to, and about 1.3 GiB."""


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
    queries = [RewardQuery(path, _text(path)) for path in sorted(directory.glob("*.sql"))]
    if not queries:
        raise SettingsError(f"reward_sql = {str(directory)!r} holds no *.sql file", hint="Put a query there.")
    return queries


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {error}", hint="Make it a text file in UTF-8.") from error


def query_rewards(queries: Sequence[RewardQuery], spans: pl.DataFrame, logs: pl.DataFrame) -> list[Reward]:
    """Run the queries over tables `spans` and `log_records`, which hold whole traces; no files, no network.

    Without a `project` column a row belongs to every project that has the trace; without `time_ns` the reward was given
    when its trace ended.
    """
    if not queries or spans.is_empty():
        return []
    ended = spans.group_by("project", "trace_id").agg(ended_ns=pl.col("end_ns").max())
    found: list[Reward] = []
    with closing(duckdb.connect(":memory:")) as connection:
        connection.register("spans", spans.to_arrow())
        connection.register("log_records", logs.to_arrow())
        connection.execute("set enable_external_access = false")
        connection.execute("set lock_configuration = true")
        for query in queries:
            found += _rewards(_rows(connection, query), query, ended)
    found.sort(key=lambda reward: (reward.source, reward.project, reward.trace_id or "", reward.span_id or ""))
    return found


def _rows(connection: duckdb.DuckDBPyConnection, query: RewardQuery) -> pl.DataFrame:
    """Return what a query returns, in the columns and types of `TYPES`; a column it leaves out is null."""
    hint = "Try it: spanloop sql"
    try:
        relation = connection.sql(query.sql)
    except duckdb.Error as error:
        raise SettingsError(f"{query.path}: {error}", hint=hint) from error
    if relation is None:
        raise SettingsError(f"{query.path} returns nothing", hint="Make its last statement a select.")
    missing = [name for name in REQUIRED if name not in relation.columns]
    unknown = [name for name in relation.columns if name not in TYPES]
    if missing or unknown or len(set(relation.columns)) < len(relation.columns):
        optional = ", ".join(name for name in TYPES if name not in REQUIRED)
        raise SettingsError(
            f"{query.path} returns {', '.join(relation.columns)}",
            hint=f"Return {', '.join(REQUIRED)}, and any of {optional}; each once.",
        )
    try:
        rows = pl.from_arrow(relation.limit(MAX_ROWS + 1).to_arrow_table())
    except duckdb.Error as error:
        # What DuckDB says of a row it cannot compute quotes the row, which may be a prompt.
        raise SettingsError(f"{query.path}: {type(error).__name__} on some row", hint=hint) from None
    assert isinstance(rows, pl.DataFrame)
    if rows.height > MAX_ROWS:
        raise SettingsError(
            f"{query.path} returns more than {MAX_ROWS:,} rows for the spans of one bucket",
            hint="Look for a join without a condition, or judge whole traces rather than spans.",
        )
    for name, kind in zip(relation.columns, relation.types, strict=True):
        if not FITS[TYPES[name]](rows.schema[name]):
            raise SettingsError(
                f"{query.path}: {name} is {kind}, not {WORDS[TYPES[name]]}", hint=f"Cast it in the query: {name}::…"
            )
    return rows.select(
        pl.col(name).cast(kind) if name in rows.columns else pl.lit(None, kind).alias(name)
        for name, kind in TYPES.items()
    )


def _rewards(rows: pl.DataFrame, query: RewardQuery, ended: pl.DataFrame) -> list[Reward]:
    given = rows.rename({"project": "own_project"}).join(ended, on="trace_id", maintain_order="left")
    meant = given.filter(pl.col("own_project").is_null() | (pl.col("own_project") == pl.col("project"))).select(
        "project",
        "trace_id",
        "span_id",
        pl.col("name").fill_null(UNNAMED),
        "value",
        "label",
        "explanation",
        pl.lit(query.source),
        pl.coalesce("time_ns", "ended_ns"),
    )
    return [Reward(*row) for row in meant.iter_rows()]
