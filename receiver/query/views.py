"""The views people query: the receiver's tables over all days and the unlanded tail, and the ETL's files."""

import contextlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import duckdb
import pyarrow as pa

from foundation.errors import SpanloopError
from receiver.decode import shared
from receiver.decode.arrow import SCHEMAS
from receiver.snapshot import Snapshot
from receiver.tables import ROWS, SHARED_TEXTS, TABLES, literal, shown_files
from receiver.traces import OF_SPANS
from receiver.traces import VIEW as TRACES

COLUMNS_FILE = Path("dataset") / "columns.json"
"""Beside what the ETL publishes: what every column of it means, by table."""

DATASET_TABLES = ("llm_calls", "tool_calls", "rewards", "episodes", "transitions", "rejected")
"""Tables the ETL publishes as Parquet under DATA/dataset; a view exists once a table has files. Each has a column
`project`."""

CREDIT, CREDIT_FILES = "credit", "checkpoints/[!.]*/credit.parquet"
"""What each call was credited with that a checkpoint was trained on: a view over these files below DATA."""

Rows: TypeAlias = list[pa.RecordBatch] | pa.RecordBatchReader | duckdb.DuckDBPyRelation

VIEWS = (*ROWS, "traces", *DATASET_TABLES, CREDIT)
"""Every name a query may read from."""


def create_views(
    connection: duckdb.DuckDBPyConnection,
    data: Path,
    databases: Iterable[str],
    tail: Mapping[str, Rows],
    *,
    project: str | None = None,
    needed: frozenset[str] | None = None,
    columns: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Create the views as temporary ones of a connection, over days attached under these names and unlanded batches.

    With a project every view holds that one's rows alone. With names only the views a query needs are made: each costs
    DuckDB a millisecond or more a day. With `columns` the views of the receiver's tables have these alone.
    """
    wanted = {*VIEWS} if needed is None else {*needed} | ({"trace_parts"} if "traces" in needed else set())
    only = f" where project = {literal(project)}" if project is not None else ""
    databases = list(databases)
    sharing = _sharing(connection) if wanted & {*TABLES} else frozenset()
    texts = tail.get(SHARED_TEXTS)
    if isinstance(texts, list):
        connection.register(f"hot_{SHARED_TEXTS}", pa.Table.from_batches(texts))
    for table, declared in TABLES.items():
        if table not in wanted:
            continue
        rows = tail[table]
        connection.register(
            f"hot_{table}", pa.Table.from_batches(rows, schema=SCHEMAS[table]) if isinstance(rows, list) else rows
        )
        names = list(columns[table]) if columns else [column.name for column in declared]
        sources = [(f"{name}.{table}", f"{name}.{SHARED_TEXTS}" if name in sharing else None) for name in databases]
        sources.append((f"hot_{table}", f"hot_{SHARED_TEXTS}" if texts is not None else None))
        body = " union all ".join(_select(names, source, texts_of, only) for source, texts_of in sources)
        connection.execute(f"create or replace temp view {table} as {body}")
    if "trace_parts" in wanted:
        _show_parts(connection, databases, tail, only, columns)
    if "traces" in wanted:
        connection.execute(f"create or replace temp view traces as {TRACES}")
    published = wanted & {*DATASET_TABLES}
    for table, files in shown_files(data).items() if published else ():
        if table in published:
            _show(connection, table, files, only, hint="The next `spanloop etl run` may mend it.")
    if CREDIT in wanted and (files := sorted(data.absolute().glob(CREDIT_FILES))):
        _show(connection, CREDIT, files, only, hint="Remove the checkpoint whose file is damaged, or train again.")
    if needed is None:
        comment(connection, data)


def _show_parts(
    connection: duckdb.DuckDBPyConnection,
    databases: list[str],
    tail: Mapping[str, Rows],
    only: str,
    columns: Mapping[str, Sequence[str]] | None,
) -> None:
    """Create the view `trace_parts`: sums of what landed, and of what has not, as they were sent or made here."""
    if "trace_parts" in tail:
        waiting = "hot_trace_parts"
        connection.register(waiting, tail["trace_parts"])
    else:
        rows = tail["spans"]
        hot = pa.Table.from_batches(rows, schema=SCHEMAS["spans"]) if isinstance(rows, list) else rows
        connection.register("hot_summed", hot)
        waiting = f"({OF_SPANS.format(spans='hot_summed')})"
    names = ", ".join(columns["trace_parts"] if columns else (column.name for column in ROWS["trace_parts"]))
    sources = [*(f"{name}.trace_parts" for name in databases), waiting]
    body = " union all ".join(f"select {names} from {source}{only}" for source in sources)
    connection.execute(f"create or replace temp view trace_parts as {body}")


def _show(connection: duckdb.DuckDBPyConnection, table: str, files: Iterable[Path], only: str, *, hint: str) -> None:
    """Create a view over Parquet files."""
    names = ", ".join(literal(str(file)) for file in files)
    try:
        connection.execute(
            f"create or replace temp view {table} as from read_parquet([{names}], union_by_name = true){only}"
        )
    except duckdb.Error as error:
        raise SpanloopError(f"{table} cannot be read: {str(error).splitlines()[0]}", hint=hint) from error


def comment(connection: duckdb.DuckDBPyConnection, data: Path) -> None:
    """Say of every column of the views that are there what it means, where DuckDB shows it: `duckdb_columns()`."""
    meanings = {table: {column.name: column.description for column in declared} for table, declared in ROWS.items()}
    with contextlib.suppress(OSError, ValueError):
        meanings |= json.loads((data / COLUMNS_FILE).read_bytes())
    there = connection.execute(
        "select table_name, column_name from duckdb_columns() where database_name = 'temp'"
    ).fetchall()
    known = [(table, name, meanings[table][name]) for table, name in there if name in meanings.get(table, {})]
    statements = [f'comment on column {table}."{name}" is {literal(text)}' for table, name, text in known]
    connection.execute("; ".join(statements) or "select 1")


def _sharing(connection: duckdb.DuckDBPyConnection) -> frozenset[str]:
    """Return the names of the day files in which rows refer to texts: the others are read without a join."""
    found = connection.execute(
        "select database_name from duckdb_tables() where table_name = ? and estimated_size > 0", [SHARED_TEXTS]
    ).fetchall()
    return frozenset(name for (name,) in found)


def _select(names: list[str], source: str, texts: str | None, only: str) -> str:
    """Return the SQL that reads a table as published, with texts in the place of references to them."""
    referring = [name for name in names if name in shared.COLUMNS]
    if texts is None or not referring:
        return f"select {', '.join(names)} from {source}{only}"
    shown = [
        f"coalesce({name}_texts.text, rows.{name}) as {name}" if name in referring else f"rows.{name}" for name in names
    ]
    joins = "".join(f" left join {texts} as {name}_texts on rows.{name} = {name}_texts.reference" for name in referring)
    return f"select {', '.join(shown)} from (from {source}{only}) as rows{joins}"


def show(
    taken: Snapshot, *, project: str | None = None, needed: frozenset[str] | None = None
) -> duckdb.DuckDBPyConnection:
    """Create the views over a snapshot; return the connection that has them."""
    create_views(taken.connection, taken.data, taken.databases, taken.tail, project=project, needed=needed)
    return taken.connection
