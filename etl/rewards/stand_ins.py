"""Gives rewards that name no trace a trace to stand in, made of the response id they judge: each is counted once.

A stand-in is `response:<id>`; `response:` alone holds the rewards that name neither a trace nor an answer. It has no
spans. Which call it judges only reading the calls shows, so it is read with every trace that has a call of its id.
"""

import polars as pl

from etl.episodes.grouping import Trace
from otel_exporter.schema import EVALUATION_EVENT

PREFIX = "response:"

TRACE_ID = f"""
    case
        when trace_id is null and event_name = '{EVALUATION_EVENT}'
            then '{PREFIX}' || coalesce(json_extract_string(attributes, '$."gen_ai.response.id"'), '')
        else trace_id
    end
"""
"""SQL: the trace of a log record, or its stand-in; null for a record that is no reward and names no trace."""


def is_stand_in(trace: Trace) -> bool:
    """Tell whether a trace is only the stand-in of one.

    >>> is_stand_in(("shop", "response:chatcmpl-1")), is_stand_in(("shop", "0af7651916cd43dd8448eb211c80319c"))
    (True, False)
    """
    return trace[1].startswith(PREFIX)


def response_id(trace: Trace) -> str:
    """Return the id of the answer that the rewards of a stand-in judge; empty where they name none."""
    return trace[1].removeprefix(PREFIX)


def of_calls(calls: pl.DataFrame) -> set[Trace]:
    """Return the stand-ins that rewards of these calls would have."""
    answered = calls.filter(pl.col("response_id").is_not_null()).select("project", "response_id").unique()
    return {(project, PREFIX + answer) for project, answer in answered.iter_rows()}
