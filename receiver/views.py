"""The views people query: the receiver's tables over all days and the unlanded tail, and the ETL's files."""

from collections.abc import Iterable
from datetime import date
from pathlib import Path

import duckdb
import pyarrow as pa

from receiver.days import database_name, literal
from receiver.decode import SCHEMAS
from receiver.schema import TABLES

DATASET_TABLES = ("llm_calls", "tool_calls", "rewards", "episodes", "transitions", "rejected")
"""Tables the ETL publishes as DATA/dataset/<table>/*.parquet; a view exists once a table has files."""

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
) -> None:
    """Create the views as temporary ones of a connection, over the given days and unlanded batches.

    With a project every view holds that one's rows alone.
    """
    only = f" where project = {literal(project)}" if project is not None else ""
    days = list(days)
    for table, columns in TABLES.items():
        connection.register(f"hot_{table}", pa.Table.from_batches(hot[table], schema=SCHEMAS[table]))
        names = ", ".join(column.name for column in columns)
        sources = [f"{database_name(day)}.{table}" for day in days] + [f"hot_{table}"]
        body = " union all ".join(f"select {names} from {source}{only}" for source in sources)
        connection.execute(f"create temp view {table} as {body}")
    connection.execute(f"create temp view traces as {TRACES}")
    for table in DATASET_TABLES:
        directory = (data / "dataset" / table).absolute()
        if any(directory.glob("*.parquet")):
            files = literal(f"{directory}/*.parquet")
            connection.execute(f"create temp view {table} as from read_parquet({files}, union_by_name = true){only}")
