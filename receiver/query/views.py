"""The views people query: the receiver's tables over all days and the unlanded tail, and the ETL's files."""

import json
from collections.abc import Iterable
from datetime import date
from pathlib import Path

import duckdb
import pyarrow as pa

from receiver.decode.arrow import SCHEMAS
from receiver.store.days import database_name, literal
from receiver.tables import TABLES

DATASET_TABLES = ("llm_calls", "tool_calls", "rewards", "episodes", "transitions", "rejected")
"""Tables the ETL publishes as Parquet under DATA/dataset; a view exists once a table has files."""

TRACES = """
    select
        project,
        trace_id,
        coalesce(
            min_by(name, start_ns) filter (where parent_span_id is null), min_by(name, start_ns)
        ) as root_name,
        min_by(service_name, start_ns) as service_name,
        min(start_time) as start_time,
        max(end_time) as end_time,
        (max(end_ns) - min(start_ns)) / 1e9 as duration_s,
        count(*) as num_spans,
        count(*) filter (where status_code = 'error') as num_errors
    from spans
    group by project, trace_id
"""

VIEWS = (*TABLES, "traces", *DATASET_TABLES)
"""Every name a query may read from."""


def create_views(
    connection: duckdb.DuckDBPyConnection,
    data: Path,
    days: Iterable[date],
    hot: dict[str, list[pa.RecordBatch]],
    *,
    project: str | None = None,
    needed: frozenset[str] | None = None,
) -> None:
    """Create the views as temporary ones of a connection, over the given days and unlanded batches.

    With a project every view holds that one's rows alone. With names only the views a query needs are made: each costs
    DuckDB a millisecond or more a day.
    """
    wanted = {*VIEWS} if needed is None else {*needed} | ({"spans"} if "traces" in needed else set())
    only = f" where project = {literal(project)}" if project is not None else ""
    days = list(days)
    for table, columns in TABLES.items():
        if table not in wanted:
            continue
        connection.register(f"hot_{table}", pa.Table.from_batches(hot[table], schema=SCHEMAS[table]))
        names = ", ".join(column.name for column in columns)
        sources = [f"{database_name(day)}.{table}" for day in days] + [f"hot_{table}"]
        body = " union all ".join(f"select {names} from {source}{only}" for source in sources)
        connection.execute(f"create temp view {table} as {body}")
    if "traces" in wanted:
        connection.execute(f"create temp view traces as {TRACES}")
    files_of = published_files(data) if wanted & {*DATASET_TABLES} else {}
    for table, files in files_of.items():
        if table not in wanted:
            continue
        names = ", ".join(literal(str(file)) for file in files)
        connection.execute(f"create temp view {table} as from read_parquet([{names}], union_by_name = true)")


def published_files(data: Path) -> dict[str, list[Path]]:
    """Return the files of every published table that has some: those the ETL's watermark names, and no others."""
    directory = (data / "dataset").absolute()
    try:
        windows = json.loads((directory / "watermark.json").read_bytes())["windows"]
    except FileNotFoundError:
        return {}
    found = {
        table: [directory / table / name for window in windows for name in window["files"].get(table, ())]
        for table in DATASET_TABLES
    }
    return {table: files for table, files in found.items() if files}
