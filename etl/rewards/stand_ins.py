"""Gives rewards that name no trace a trace to stand in, made of what else they name: each is counted once.

A stand-in is `response:<id>`, `episode:<id>` or `session:<id>`; `response:` alone holds the rewards that name nothing.
It has no spans. What it judges only reading the spans shows, so it is read with every trace that has such an id.
"""

from collections.abc import Iterable

import polars as pl

from etl.episodes.grouping import Trace
from otel_exporter.schema import EPISODE_ID, EVALUATION_EVENT

RESPONSE, EPISODE, SESSION = "response:", "episode:", "session:"
PREFIXES = (RESPONSE, EPISODE, SESSION)

_NAMES = (
    (RESPONSE, "gen_ai.response.id"),
    (EPISODE, EPISODE_ID),
    (SESSION, "gen_ai.conversation.id"),
    (SESSION, "session.id"),
)
_NAMED = ", ".join(
    f"""'{prefix}' || nullif(json_extract_string(attributes, '$."{name}"'), '')""" for prefix, name in _NAMES
)

TRACE_ID = f"""
    case
        when trace_id is null and event_name = '{EVALUATION_EVENT}' then coalesce({_NAMED}, '{RESPONSE}')
        else trace_id
    end
"""
"""SQL: the trace of a log record, or its stand-in; null for a record that is no reward and names no trace."""


def is_stand_in(trace: Trace) -> bool:
    """Tell whether a trace is only the stand-in of one.

    >>> is_stand_in(("shop", "response:chatcmpl-1")), is_stand_in(("shop", "0af7651916cd43dd8448eb211c80319c"))
    (True, False)
    """
    return trace[1].startswith(PREFIXES)


def named_id(trace: Trace) -> str:
    """Return the id that the rewards of a stand-in name; empty where they name none.

    >>> named_id(("shop", "episode:ep:2"))
    'ep:2'
    """
    return trace[1].partition(":")[2]


def of_rows(calls: pl.DataFrame, episodes: pl.DataFrame) -> set[Trace]:
    """Return the stand-ins that rewards of these calls, episodes and their sessions would have."""
    return {
        (project, prefix + name)
        for prefix, rows, column in (
            (RESPONSE, calls, "response_id"),
            (EPISODE, episodes, "episode_id"),
            (EPISODE, episodes, "session_id"),
            (SESSION, episodes, "session_id"),
        )
        for project, name in _named(rows, column)
    }


def _named(rows: pl.DataFrame, column: str) -> Iterable[tuple[str, str]]:
    return rows.filter(pl.col(column).is_not_null()).select("project", column).unique().iter_rows()
