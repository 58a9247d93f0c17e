"""A small published dataset, written as a run writes it."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from etl.published.publish import Files, publish, write_part
from etl.published.window import Window
from etl.settings import EtlConfig
from etl.tables import Dataset
from etl.transform import transform
from tests.spans import Span, identifier, logs_frame, spans_frame

Trace = tuple[str, str]


def trace(name: str) -> Trace:
    """Return the key of a trace."""
    return "default", identifier(name, 32)


def made_of(spans: Sequence[Span], logs: Sequence[dict[str, Any]] = (), **settings: Any) -> Dataset:
    """Return what the ETL makes of spans and log records."""
    return transform(spans_frame(spans), logs_frame(logs), EtlConfig(complete_after=0, **settings))


def written(data: Path, seq: int, *spans: Span, **settings: Any) -> tuple[Window, Files]:
    """Write a part that is not published yet."""
    window = Window(seq, seq)
    return window, write_part(data, window, made_of(spans, **settings))


def put(
    data: Path, seq: int, *spans: Span, logs: Sequence[dict[str, Any]] = (), pending: Collection[Trace] = ()
) -> None:
    """Publish what came in one request."""
    made = made_of(spans, logs)
    traces = {(row["project"], row["trace_id"]) for row in [*spans, *logs]}
    publish(data, Window(seq, seq), traces, [write_part(data, Window(seq, seq), made)], pending, seq)
