"""One episode of a few calls, and what signals measured of it."""

import json
from typing import Any

import polars as pl

from etl.settings import EtlConfig
from etl.transform import transform
from tests.spans import Span, llm, logs_frame, span, spans_frame

SCHEMA = {"type": "object", "properties": {"q": {"type": "integer"}}, "required": ["q"]}


OFFER = {"gen_ai.tool.definitions": json.dumps([{"type": "function", "name": "search", "parameters": SCHEMA}])}


def transitions(*spans: Span, **settings: Any) -> pl.DataFrame:
    """Run the ETL over an episode and return its transitions."""
    root = span("root", end=99)
    config = EtlConfig(complete_after=0, **settings)
    return transform(spans_frame([root, *spans]), logs_frame(), config).tables["transitions"]


def step(name: str, *, start: float, **rest: Any) -> Span:
    """Return a call of the episode that takes a second."""
    return llm(name, parent="root", start=start, end=start + 1, **rest)


def measured(rows: pl.DataFrame, name: str) -> list[float | None]:
    """Return what a signal measured, step by step."""
    return [json.loads(text).get(name) for text in rows["signals"]]
