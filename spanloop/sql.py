"""`spanloop sql`: one SELECT over everything, whether a receiver runs or not."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import orjson
import pyarrow as pa
import pyarrow.csv
from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from foundation.settings import DEFAULT_DATA
from receiver.schema import connect

MAX_TABLE_ROWS = 40
"""Rows a table shows on a terminal; the other formats print all of them."""


def sql(
    statement: Annotated[str, Parameter(name="statement")],
    *,
    data: Path = DEFAULT_DATA,
    format_: Annotated[Literal["table", "json", "csv"], Parameter(name="--format")] = "table",
) -> None:
    """Run one SELECT over the spans, log records and the ETL's tables.

    Views: spans, log_records, traces; and once the ETL has run: llm_calls, tool_calls, rewards, episodes, transitions,
    rejected.

    Example: spanloop sql "select service_name, count(*) as spans from spans group by all order by spans desc"

    Parameters
    ----------
    statement
        A SELECT.
    data
        Directory that keeps everything.
    format_
        `table` for people (the first 40 rows), `json` an array of one object a row, `csv` with a header.
    """
    reader = connect(data)
    try:
        rows = reader.query(statement)
    finally:
        reader.close()
    match format_:
        case "table":
            _print_table(rows)
        case "json":
            sys.stdout.buffer.write(orjson.dumps(rows.to_pylist(), default=_spell) + b"\n")
        case "csv":
            pyarrow.csv.write_csv(_flat(rows), sys.stdout.buffer)
    sys.stdout.flush()


def _print_table(rows: pa.Table) -> None:
    table = Table(*rows.column_names)
    for row in rows.slice(0, MAX_TABLE_ROWS).to_pylist():
        table.add_row(*("" if value is None else _spell(value) for value in row.values()), style=None)
    console = Console()
    console.print(table)
    if rows.num_rows > MAX_TABLE_ROWS:
        console.print(f"{MAX_TABLE_ROWS} of {rows.num_rows:,} rows; --format csv prints all of them.")


def _flat(rows: pa.Table) -> pa.Table:
    """Turn columns CSV has no form for into text: lists, structs and maps into JSON, bytes into hex."""
    columns = [
        pa.array([None if value is None else _spell(value) for value in column.to_pylist()], pa.string())
        if pa.types.is_nested(column.type) or pa.types.is_binary(column.type)
        else column
        for column in rows.columns
    ]
    return pa.table(columns, names=rows.column_names)


def _spell(value: object) -> str:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list | dict):
        return orjson.dumps(value, default=_spell).decode()
    return str(value)
