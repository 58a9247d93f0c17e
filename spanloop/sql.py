"""`spanloop sql`: one SELECT over everything, whether a receiver runs or not."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import pyarrow as pa
from cyclopts import Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from foundation import rows
from foundation.narration import get_logger
from foundation.settings import DEFAULT_DATA
from receiver.schema import connect

log = get_logger("sql")

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
    rejected; and once something was trained: credit.

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
    if not data.is_dir():
        log.warning("there is no such directory; its tables are empty", data=str(data))
    try:
        found = reader.query(statement)
    finally:
        reader.close()
    match format_:
        case "table":
            _print_table(found)
        case "json":
            sys.stdout.buffer.write(rows.as_json(found) + b"\n")
        case "csv":
            sys.stdout.buffer.write(rows.as_csv(found))
    sys.stdout.flush()


def _print_table(found: pa.Table) -> None:
    table = Table()
    for name in found.column_names:
        table.add_column(Text(name))
    for cells in rows.as_cells(found.slice(0, MAX_TABLE_ROWS)):
        table.add_row(*(Text(cell) for cell in cells))
    console = Console()
    console.print(table)
    if found.num_rows > MAX_TABLE_ROWS:
        console.print(f"{MAX_TABLE_ROWS} of {found.num_rows:,} rows; --format csv prints all of them.")
