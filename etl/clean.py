"""Sets aside what cannot be placed and what came twice, and orders the rest as everything is built on it."""

import polars as pl

from etl.tables import Row

NEEDED = ("project", "trace_id", "span_id", "start_ns", "end_ns")
"""A span without one of these cannot be placed."""


def clean(spans: pl.DataFrame) -> tuple[pl.DataFrame, list[Row]]:
    """Set aside spans that cannot be placed and repeated ones; order the rest as everything is built on it.

    Of two spans with one id the one that ended later is kept, then the one with the larger content.
    """
    usable = pl.all_horizontal(pl.col(name).is_not_null() for name in NEEDED)
    rejected: list[Row] = [
        rejected_span(row, "clean", "no_identity") for row in spans.filter(~usable).iter_rows(named=True)
    ]
    identity = pl.struct("project", "trace_id", "span_id")
    marked = spans.filter(usable).with_columns(_repeated=identity.is_duplicated())
    content = pl.struct("name", "parent_span_id", "attributes", "events", "status_code", "status_message")
    repeated = (
        marked.filter("_repeated")
        .with_columns(_content=content.struct.json_encode())
        .sort("project", "trace_id", "span_id", "end_ns", "_content", "received_seq", nulls_last=False)
        .with_columns(_kept=identity.is_last_distinct())
        .drop("_content")
    )
    rejected += [
        rejected_span(row, "clean", "duplicate") for row in repeated.filter(~pl.col("_kept")).iter_rows(named=True)
    ]
    kept = pl.concat([marked.filter(~pl.col("_repeated")), repeated.filter("_kept").drop("_kept")]).drop("_repeated")
    return kept.sort("project", "trace_id", "start_ns", "span_id"), rejected


def rejected_span(row: Row, stage: str, reason: str, detail: str | None = None) -> Row:
    """Return the row of `rejected` for a span."""
    return {
        "project": row["project"],
        "trace_id": row["trace_id"],
        "span_id": row["span_id"],
        "stage": stage,
        "reason": reason,
        "detail": detail,
    }


def unique_logs(logs: pl.DataFrame) -> pl.DataFrame:
    """Drop records that came twice: same ids, time and content."""
    identity = ["project", "trace_id", "span_id", "time_ns", "event_name", "body", "attributes"]
    return logs.sort("received_seq", "record_index").unique(identity, keep="first", maintain_order=True)
