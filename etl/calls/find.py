"""Finds the spans that mean something in a frame of spans, and has each read by its dialect."""

import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import orjson
import polars as pl

from etl.calls.completing.leftovers import read_leftovers
from etl.calls.completing.strays import adopt_strays
from etl.calls.readings import Readings
from etl.calls.tree import Forest
from etl.dialects import reading
from etl.dialects.conventions.genai import STREAMING_LOOP
from etl.dialects.platforms import agentlightning, agentops, logfire, openlit
from etl.dialects.shapes.number_lists import object_with_arrays
from etl.dialects.spans import (
    AgentSpan,
    AnswerFact,
    Embedding,
    Evaluation,
    LlmCall,
    LogRecord,
    Span,
    ToolCall,
    ToolFact,
)
from etl.dialects.structure import own
from etl.dialects.structure.calls import complete_read
from etl.settings import DialectEntry
from otel_exporter.schema import EVALUATION_EVENT

PARSED = (
    "row",
    "project",
    "trace_id",
    "span_id",
    "parent_span_id",
    "name",
    "start_ns",
    "end_ns",
    "status_code",
    "status_message",
    "scope_name",
    "scope_version",
    "attributes",
    "events",
    "dropped_attributes_count",
)


TELLING = [f"{quote}{name}{quote}" for name in ("role", "messages", "choices", "tool_calls") for quote in ('"', '\\"')]
"""What a log record or an event of an unknown writer holds that carries messages, also as JSON within a text."""

SCOPE_BEGINNINGS = "^(" + "|".join(map(re.escape, ("agentops", openlit.SCOPE, *reading.JUDGES))) + ")"


def read_all(spans: pl.DataFrame, logs: pl.DataFrame, forest: Forest, entries: Sequence[DialectEntry] = ()) -> Readings:
    """Read every span that a dialect may know; `spans` carries its row number in `row`."""
    records = records_by_span(logs)
    with_logs = pl.DataFrame(
        {"project": [k[0] for k in records], "trace_id": [k[1] for k in records], "span_id": [k[2] for k in records]},
        schema={"project": pl.String, "trace_id": pl.String, "span_id": pl.String},
    ).with_columns(has_logs=pl.lit(value=True))
    rows = spans.join(with_logs, on=["project", "trace_id", "span_id"], how="left", maintain_order="left").with_columns(
        is_known=pl.any_horizontal(
            pl.col("has_logs"),
            pl.col("scope_name").is_in(list(reading.SCOPES)),
            pl.col("events").str.contains(EVALUATION_EVENT, literal=True),
            pl.col("events").str.contains_any(TELLING),
            pl.col("scope_name").str.to_lowercase().str.contains(SCOPE_BEGINNINGS),
            pl.col("name").str.starts_with("agentlightning."),
            pl.col("name").str.starts_with("haystack."),
        ).fill_null(value=False)
    )
    markers = [*reading.MARKERS, *(marker for entry in entries for marker in own.markers(entry))]
    has_marker = pl.col("attributes").str.contains_any(markers, ascii_case_insensitive=True)
    known, others = rows.filter("is_known"), rows.filter(~pl.col("is_known")).filter(has_marker)  # long texts last
    candidates = pl.concat([known, others]).sort("row").select(PARSED)
    readings = Readings()
    children: dict[str, list[Span]] = defaultdict(list)
    parsed = [_parse(values, records) for values in candidates.rows()]
    adopt_strays(parsed if records else ())
    for span in parsed:
        readings.spans[span.index] = span
        if agentops.is_requested_tool(span) and span.parent_span_id is not None:
            children[span.trace_id + span.parent_span_id].append(span)
        theirs = _read_own(readings, span, entries) if entries else None
        _sort_in(readings, span, theirs if theirs is not None else _read(readings, span))
    read_leftovers(readings, forest)
    readings.calls = logfire.join_streams(readings.calls)
    if children:
        for call in readings.calls:
            agentops.add_requested_tools(call, children.get(call.span.trace_id + call.span.span_id, []))
    return readings


def _read_own(readings: Readings, span: Span, entries: Sequence[DialectEntry]) -> reading.Found | None:
    """Read a span by the entries of users, before all dialects."""
    try:
        return own.read(span, entries)
    except Exception as error:  # noqa: BLE001 - as below
        readings.unreadable[span.index] = f"{span.scope or '(no scope)'}: {type(error).__name__}"
        return None


def _sort_in(readings: Readings, span: Span, found: reading.Found | None) -> None:
    match found:
        case LlmCall():
            if not _never_sent(found):
                _complete(readings, found)
                readings.calls.append(found)
        case ToolCall():
            readings.tools.append(found)
        case AgentSpan():
            readings.agents[span.index] = found
            if found.dialect == reading.BY_NAME:  # a name alone: its values may be a model call's
                readings.leftovers.append(span)
        case Evaluation():
            readings.evaluations[span.index] = found
        case Embedding():
            readings.embeddings.append(found)
        case list():
            for entry in found:
                match entry:
                    case ToolCall():
                        readings.tools.append(entry)
                    case AgentSpan():
                        readings.agents[span.index] = entry
                    case ToolFact():
                        readings.facts.append((span, entry))
                    case AnswerFact():
                        readings.answers.append((span, entry))
        case None if span.index not in readings.unreadable and not agentlightning.is_annotation(span):
            readings.leftovers.append(span)


def _read(readings: Readings, span: Span) -> reading.Found | None:
    """Read a span. One whose values its reader cannot stand is an ordinary one, and counted: it ends no run."""
    try:
        return reading.read(span)
    except Exception as error:  # noqa: BLE001 - whatever a stranger recorded; the other spans are still to be read
        readings.unreadable[span.index] = f"{span.scope or '(no scope)'}: {type(error).__name__}"
        return None


def _complete(readings: Readings, call: LlmCall) -> None:
    """Add to a call what its span holds and its reader left; what cannot be stood is left, and counted."""
    try:
        complete_read(call)
    except Exception as error:  # noqa: BLE001 - as above
        readings.unreadable[call.span.index] = f"{call.span.scope or '(no scope)'}: {type(error).__name__}"


def _never_sent(call: LlmCall) -> bool:
    """Tell whether the client itself refused its arguments: there is a span, but no model was called."""
    return call.error is not None and call.error["type"] == "TypeError" and call.response_id is None


def _parse(values: tuple[Any, ...], records: dict[tuple[str, str, str], list[LogRecord]]) -> Span:
    (
        row,
        project,
        trace_id,
        span_id,
        parent,
        name,
        start,
        end,
        code,
        message,
        scope,
        version,
        attributes,
        events,
        lost,
    ) = values
    return Span(
        row,
        project,
        trace_id,
        span_id,
        parent,
        name or "",
        start,
        end,
        code,
        message,
        scope or "",
        version,
        object_with_arrays(attributes) or json_object(attributes),
        json_array(events),
        records.get((project, trace_id, span_id), []) if records else [],
        lost or 0,
    )


def json_object(text: str | None) -> dict[str, Any]:
    """Parse a JSON object column; what is none reads as empty."""
    value = _json(text)
    return value if isinstance(value, dict) else {}


def json_array(text: str | None) -> list[Any]:
    """Parse a JSON array column; what is none reads as empty."""
    value = _json(text) if text != "[]" else None
    return value if isinstance(value, list) else []


def _json(text: str | None) -> Any:  # noqa: ANN401 - any JSON value
    try:
        return orjson.loads(text) if text else None
    except orjson.JSONDecodeError:
        return None


def records_by_span(logs: pl.DataFrame) -> dict[tuple[str, str, str], list[LogRecord]]:
    """Collect the log records of each span that may tell of its model call, in the order they happened."""
    records: dict[tuple[str, str, str], list[LogRecord]] = defaultdict(list)
    relevant = logs.filter(
        (
            pl.col("event_name").str.starts_with("gen_ai.").fill_null(value=False)
            | pl.col("attributes").str.contains_any([STREAMING_LOOP, *TELLING]).fill_null(value=False)
            | pl.col("body").str.contains_any(TELLING).fill_null(value=False)
        )
        & pl.col("trace_id").is_not_null()
        & pl.col("span_id").is_not_null()
    ).sort("time_ns", "observed_ns", "received_seq", "record_index", nulls_last=True)
    columns = relevant.select(
        "project", "trace_id", "span_id", "event_name", "time_ns", "observed_ns", "body", "attributes", "scope_name"
    )
    for project, trace_id, span_id, event_name, time_ns, observed_ns, body, attributes, scope in columns.iter_rows():
        written_ns = time_ns or observed_ns or 0
        record = LogRecord(event_name or "", written_ns, _json(body), json_object(attributes), scope or "")
        records[project, trace_id, span_id].append(record)
    return records
