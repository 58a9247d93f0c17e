"""Asks the receiver for whole traces: those a window of receipt touched, and those named."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl

from etl.episodes import Trace
from receiver.schema import TABLES, Reader

EVERYTHING = 2**62
"""Past any request number."""


@dataclass(frozen=True, slots=True)
class Window:
    """Requests `since_seq` to `until_seq`, both included, in order of receipt."""

    since_seq: int
    until_seq: int

    @property
    def name(self) -> str:
        """Return the window's name, which sorts as its numbers do.

        >>> Window(1, 25).name
        '000000000001-000000000025'
        """
        return f"{self.since_seq:012d}-{self.until_seq:012d}"


def find_window(reader: Reader, *, after_seq: int, since: datetime | None, until: datetime | None) -> Window | None:
    """Return the window of what was received in [since, until), or after a request; None when that is nothing."""
    clauses, parameters = ["true"], []
    if since is not None:
        clauses.append("received_time >= ?::timestamptz")
        parameters.append(_utc(since).isoformat())
    else:
        clauses.append("received_seq > ?::bigint")
        parameters.append(str(after_seq))
    if until is not None:
        clauses.append("received_time < ?::timestamptz")
        parameters.append(_utc(until).isoformat())
    where = " and ".join(clauses)
    table = reader.query(
        f"""
        select min(received_seq) as first, max(received_seq) as last
        from (
            select received_seq from spans where {where}
            union all
            select received_seq from log_records where {where}
        )
        """,
        [*parameters, *parameters],
    )
    row = table.to_pylist()[0]
    if row["first"] is None:
        return None
    return Window(row["first"] if since is not None else after_seq + 1, row["last"])


def _utc(instant: datetime) -> datetime:
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant


def touched_traces(reader: Reader, window: Window) -> set[Trace]:
    """Return the traces of which a span or a log record came in a window."""
    table = reader.query(
        """
        select project, trace_id
        from spans
        where received_seq between ?::bigint and ?::bigint
        union
        select project, trace_id
        from log_records
        where received_seq between ?::bigint and ?::bigint
            and trace_id is not null
            and event_name like 'gen_ai.%'
        """,
        [str(window.since_seq), str(window.until_seq)] * 2,
    )
    return set(zip(table["project"].to_pylist(), table["trace_id"].to_pylist(), strict=True))


def read_traces(reader: Reader, traces: Collection[Trace]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return every span and every log record of these traces, whenever they came."""
    ordered = sorted(traces)
    parameters = [[project for project, _ in ordered], [trace_id for _, trace_id in ordered]]
    spans, logs = (_frame(reader, table, parameters) for table in ("spans", "log_records"))
    return spans, logs


def _frame(reader: Reader, table: str, parameters: list[list[str]]) -> pl.DataFrame:
    columns = ", ".join(f"source.{column.name}" for column in TABLES[table])
    rows = reader.query(
        f"""
        select {columns}
        from {table} source
        semi join (
            select unnest(?::varchar[]) as project, unnest(?::varchar[]) as trace_id
        ) wanted
        using (project, trace_id)
        """,
        list(parameters),
    )
    frame = pl.from_arrow(rows)
    assert isinstance(frame, pl.DataFrame)
    return frame
