"""Says of every span what was found in it and where, and proposes an entry for spans that nobody reads."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from etl.calls.find import read_all
from etl.calls.readings import Readings
from etl.calls.tree import build_forest
from etl.clean import clean, unique_logs
from etl.dialects.spans import LlmCall, Span
from etl.dialects.structure.names import words_of
from etl.dialects.structure.survey import Survey, survey
from etl.dialects.structure.traffic import may_tell
from etl.episodes.grouping import Trace
from etl.runs.source import read_traces
from etl.settings import DialectEntry
from receiver.schema import connect

TOLD = (
    "api",
    "agent",
    "provider",
    "model_requested",
    "model_returned",
    "streamed",
    "params",
    "tools",
    "usage",
    "response_id",
    "conversation_id",
)
"""Fields of a call beside its messages."""

MOST_TRACES = 200
"""The latest traces that are looked at for spans nobody reads."""

LONGEST = 80
"""Characters of a value that are shown, and that a value of a span has at least that may be traffic."""


def explain(spans: pl.DataFrame, logs: pl.DataFrame, entries: list[DialectEntry]) -> Iterator[str]:
    """Say line by line what each span of a trace was read as, where each field came from, and what was not read."""
    readings = read_frame(spans, logs, entries)
    calls = {call.span.index: call for call in readings.calls}
    tools = {tool.span.index: tool for tool in readings.tools}
    for row, span in sorted(readings.spans.items(), key=lambda entry: entry[1].start_ns):
        found = survey(span)
        if row in calls:
            yield f"{span.span_id} {span.name}: model call, read by {calls[row].dialect}"
            yield from _fields(calls[row], found)
        elif row in tools:
            yield f"{span.span_id} {span.name}: execution of {tools[row].name}, read by {tools[row].dialect}"
        elif row in readings.agents:
            agent = readings.agents[row]
            yield f"{span.span_id} {span.name}: agent {agent.name}, read by {agent.dialect}"
        else:
            yield f"{span.span_id} {span.name}: not read; it says that it is: {found.kind or 'nothing'}"
        for place in (*found.unread, *found.runs):
            yield f"    not understood: {place}"


def _fields(call: LlmCall, found: Survey) -> Iterator[str]:
    for side, pieces in (("input", found.requests), ("output", found.responses)):
        messages = getattr(call, side)
        place = next((at for at, piece in pieces if messages and getattr(piece, side) == messages), None)
        count = "nothing" if messages is None else f"{len(messages)} message{'s' * (len(messages) != 1)}"
        yield f"    {side}: {count}, {_where(place, call) if messages else 'in no place that is read'}"
    for name in TOLD:
        value = getattr(call, name)
        if value not in (None, {}, []):
            at, told = found.facts.get(name, (None, None))
            yield f"    {name}: {_short(value)}, {_where(at if told == value else None, call)}"
    if call.incomplete:
        yield f"    not whole: {', '.join(sorted(call.incomplete))}"


def _where(place: str | None, call: LlmCall) -> str:
    return f"from {place}" if place is not None else f"by the reader of {call.dialect}"


def _short(value: Any) -> str:  # noqa: ANN401 - any field
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= LONGEST else text[:LONGEST] + "…"


def read_frame(spans: pl.DataFrame, logs: pl.DataFrame, entries: list[DialectEntry]) -> Readings:
    """Read the spans of a frame as a run would."""
    spans, _ = clean(spans)
    return read_all(spans.with_row_index("row"), unique_logs(logs), build_forest(spans), entries)


def unread_spans(data: Path, entries: list[DialectEntry]) -> dict[str, list[Span]]:
    """Return by scope the spans of the latest traces that look like traffic and that nobody reads."""
    reader = connect(data)
    try:
        rows = reader.query(
            """
            select project, trace_id
            from spans
            group by all
            order by max(received_seq) desc
            limit ?::bigint
            """,
            [str(MOST_TRACES)],
        ).to_pylist()
        traces: set[Trace] = {(row["project"], row["trace_id"]) for row in rows}
        spans, logs = read_traces(reader, traces)
    finally:
        reader.close()
    readings = read_frame(spans, logs, entries)
    read = {call.span.index for call in readings.calls} | {tool.span.index for tool in readings.tools}
    read |= set(readings.agents)
    found: dict[str, list[Span]] = {}
    for span in readings.leftovers:
        if span.index not in read and any(may_tell(name) for name in span.attributes) and _holds_text(span):
            found.setdefault(span.scope, []).append(span)
    return found


def _holds_text(span: Span) -> bool:
    return any(isinstance(value, str) and len(value) > LONGEST for value in span.attributes.values())


def suggest(scope: str, spans: list[Span]) -> str:
    """Return an entry to start from for spans of one scope, as TOML; what it cannot tell is left to the reader.

    The names of attributes stand in it, never their values.
    """
    names = sorted({name for span in spans for name in span.attributes})
    kinds = sorted({place for span in spans for place, _ in survey(span).kinds})
    places: dict[str, list[str]] = {}
    for span in spans:
        found = survey(span)
        for field, (place, _) in found.facts.items():
            _note(places, field, place)
        for place, _ in (*found.requests, *found.texts["input"], *found.values["input"]):
            _note(places, "input", place)
        for place, _ in (*found.responses, *found.texts["output"], *found.values["output"]):
            _note(places, "output", place)
    used = {place for listed in places.values() for place in listed}
    lines = ["[[etl.dialects]]", f"name = {json.dumps(_name(scope))}", f"scope = {json.dumps(scope)}"]
    lines += [f"kind = {json.dumps(kinds[0])}", 'calls = ["llm"]  # its values on model calls'] if kinds else []
    lines += ["", "[etl.dialects.places]"]
    lines += [f"{field} = {json.dumps(listed)}" for field, listed in sorted(places.items())]
    lines += [f"# {name}" for name in names if name not in used and may_tell(name)]
    return "\n".join(lines)


def _note(places: dict[str, list[str]], field: str, place: str) -> None:
    listed = places.setdefault(field, [])
    if place not in listed and "/" not in place:
        listed.append(place)


def _name(scope: str) -> str:
    return "-".join(words_of(scope)[:2]) or "mine"
