"""Langfuse: observations, scores and traces, of the blob storage export, the API or the page's own export.

https://langfuse.com/docs/api-and-data-platform/features/blob-storage-export-fields
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from receiver.history.records import (
    Record,
    Refused,
    Score,
    Vendor,
    as_text,
    decoded,
    first,
    listed,
    make_span,
    mapping,
    ns_of,
    number_of,
    required,
    span_id_of,
    trace_id_of,
)
from receiver.history.rows import Row

OBSERVATION = "langfuse.observation."

TYPES = frozenset(
    "SPAN GENERATION EVENT AGENT TOOL CHAIN RETRIEVER EVALUATOR EMBEDDING GUARDRAIL".split()  # noqa: SIM905
)

FIELDS = {
    OBSERVATION + "input": ("input",),
    OBSERVATION + "output": ("output",),
    OBSERVATION + "model.name": ("provided_model_name", "model"),
    OBSERVATION + "model.parameters": ("model_parameters",),
    OBSERVATION + "usage_details": ("usage_details", "usage"),
    OBSERVATION + "cost_details": ("cost_details",),
    OBSERVATION + "completion_start_time": ("completion_start_time",),
    OBSERVATION + "level": ("level",),
    OBSERVATION + "status_message": ("status_message",),
    OBSERVATION + "prompt.name": ("prompt_name",),
    OBSERVATION + "prompt.version": ("prompt_version",),
    "session.id": ("session_id",),
    "user.id": ("user_id",),
    "langfuse.trace.name": ("trace_name",),
    "langfuse.trace.tags": ("tags",),
    "langfuse.environment": ("environment",),
    "langfuse.release": ("release",),
    "langfuse.version": ("version",),
}
"""By attribute of Langfuse's own OpenTelemetry export, the columns it stands in."""

CONTEXT = ("session_id", "user_id", "trace_name", "tags", "environment", "release")
"""Columns of a trace that the newer exports repeat on each of its observations."""

TRACE_COLUMNS = {"user_id", "session_id", "html_path", "bookmarked", "public", "release"}
CAPITAL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def claims(row: Row) -> bool:
    """Tell whether a row is an observation, a score or a trace."""
    row = _snake(row)
    return _is_observation(row) or _is_score(row) or _is_trace(row)


def _snake(row: Row) -> Row:
    """Return a row with the names of the export's columns, where it has those of the API."""
    if "trace_id" in row or "user_id" in row:
        return row
    return {_snake_name(key): value for key, value in row.items()}


@lru_cache(maxsize=1024)
def _snake_name(key: str) -> str:
    return CAPITAL.sub("_", key).lower()


def _is_observation(row: Row) -> bool:
    return "trace_id" in row and "start_time" in row and str(row.get("type")).upper() in TYPES


def _is_score(row: Row) -> bool:
    return "data_type" in row and "name" in row and ("value" in row or "string_value" in row)


def _is_trace(row: Row) -> bool:
    return "id" in row and "timestamp" in row and "data_type" not in row and not TRACE_COLUMNS.isdisjoint(row)


def read(row: Row, _: int) -> Iterator[Record]:
    """Read an observation, a score, or a trace with what the API lists below it."""
    row = _snake(row)
    if _is_observation(row):
        yield _observation(row)
    elif _is_score(row):
        yield _score(row)
    else:
        yield from _trace(row)


def _attributes(row: Row) -> dict[str, Any]:
    attributes = {name: first(row, *columns) for name, columns in FIELDS.items()}
    for name in (OBSERVATION + "input", OBSERVATION + "output", OBSERVATION + "model.parameters"):
        attributes[name] = as_text(attributes[name])
    attributes["langfuse.trace.tags"] = listed(attributes["langfuse.trace.tags"])
    attributes[OBSERVATION + "completion_start_time"] = as_text(attributes[OBSERVATION + "completion_start_time"])
    for key, value in mapping(row.get("metadata")).items():
        attributes[f"{OBSERVATION}metadata.{key}"] = value
    offered = mapping(row.get("tool_definitions"))
    if offered:
        tools = [{"name": name, **mapping(said)} for name, said in offered.items()]
        attributes["gen_ai.tool.definitions"] = as_text(tools)
    return attributes


def _observation(row: Row) -> Record:
    start_ns = ns_of(row.get("start_time"))
    end_ns = ns_of(row.get("end_time"))
    if end_ns is None and (row.get("output") or str(row["type"]).upper() == "EVENT"):
        end_ns = ns_of(row.get("completion_start_time")) or start_ns
    kind = str(row["type"]).lower()
    failure = as_text(row.get("status_message")) or "error" if row.get("level") == "ERROR" else None
    return make_span(
        trace=required(row, "trace_id"),
        span=required(row, "id"),
        parent=as_text(row.get("parent_observation_id")),
        name=row.get("name"),
        start_ns=start_ns,
        end_ns=end_ns,
        attributes={OBSERVATION + "type": kind, **_attributes(row)},
        error=failure,
    )


def _score(row: Row) -> Record:
    label = as_text(row.get("string_value"))
    value = None if str(row.get("data_type")).upper() in {"TEXT", "CORRECTION"} else number_of(row.get("value"))
    if value is None and label is None:
        raise Refused("a score with neither value nor label")
    trace, span, session = (as_text(first(row, key)) for key in ("trace_id", "observation_id", "session_id"))
    if not trace and not session:
        raise Refused("a score of neither a trace nor a session")
    time_ns = ns_of(first(row, "timestamp", "created_at"))
    if time_ns is None:
        raise Refused("no timestamp")
    return Score(
        required(row, "name"),
        value,
        time_ns,
        trace_id=trace_id_of(trace) if trace else b"",
        span_id=span_id_of(span) if span and trace else b"",
        session_id=None if trace else session,
        label=label,
        explanation=as_text(row.get("comment")),
    )


def _trace(row: Row) -> Iterator[Record]:
    """Read a trace: a span of its own, which tells its session, and what the API lists with it."""
    start_ns = ns_of(row["timestamp"])
    trace = required(row, "id")
    yield make_span(
        trace=trace,
        span=f"{trace} trace",
        parent=None,
        name=row.get("name"),
        start_ns=start_ns,
        end_ns=start_ns,
        attributes={OBSERVATION + "type": "span", **_attributes({**row, "trace_name": row.get("name")})},
    )
    around = {name: value for name, value in row.items() if name in CONTEXT}
    for part in (*listed(row.get("observations")), *listed(row.get("scores"))):
        part = _snake(decoded(part)) if isinstance(decoded(part), dict) else {}
        try:
            if _is_observation(part):
                yield _observation({**around, **part})
            elif _is_score({"data_type": "NUMERIC", **part}):
                yield _score({"data_type": "NUMERIC", "trace_id": trace, **part})
        except Refused as refusal:
            yield refusal


VENDOR = Vendor("langfuse", "observations, scores and traces, of the blob storage export or the API", claims, read)
