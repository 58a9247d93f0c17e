"""MLflow: traces as JSON (`Trace.to_json`), or rows of `search_traces`, with their spans and assessments.

https://mlflow.org/docs/latest/genai/tracing/
"""

from collections.abc import Iterator, Mapping
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

AROUND = {"mlflow.trace.session": "session.id", "mlflow.trace.user": "user.id"}
"""What a trace's metadata says of all of it, by the attribute that says so on a span."""

PASSES = {"yes": 1.0, "no": 0.0, "true": 1.0, "false": 0.0}
"""What MLflow's judges say, and what its own metrics count it as."""

FAILED = {"2", "ERROR", "STATUS_CODE_ERROR"}


def claims(row: Row) -> bool:
    """Tell whether a row is a trace."""
    trace = _trace_of(row)
    return isinstance(decoded(trace.get("spans")), list) and bool({"trace_id", "request_id", "info"} & trace.keys())


def _trace_of(row: Row) -> dict[str, Any]:
    """Return what is said of a trace in one object: of its JSON, or of a row that holds it."""
    whole = mapping(row.get("trace"))
    row = {**row, **whole}
    info, data = mapping(row.get("info")), mapping(row.get("data"))
    return {**{key: value for key, value in row.items() if key not in {"trace", "data"}}, **info, **data}


def read(row: Row, _: int) -> Iterator[Record]:
    """Read a trace: its spans, then what was said of them."""
    trace = _trace_of(row)
    spans = [mapping(span) for span in listed(trace["spans"])]
    identifier = required(trace, "trace_id", "request_id")
    own = next((own for span in spans if (own := _trace_id(span))), identifier)
    metadata = mapping(first(trace, "trace_metadata", "request_metadata"))
    around = {name: metadata[key] for key, name in AROUND.items() if key in metadata}
    for span in spans:
        try:
            yield _span(span, own, around)
        except Refused as refusal:
            yield refusal
    for assessment in listed(trace.get("assessments")):
        try:
            yield _score(mapping(assessment), own)
        except Refused as refusal:
            yield refusal


def _trace_id(span: Mapping[str, Any]) -> str | None:
    """Return the trace's W3C id as one of its spans has it: by itself, in its context, or as bytes in base64."""
    found = first(span, "otel_trace_id") or mapping(span.get("context")).get("trace_id") or first(span, "trace_id")
    return None if found is None else str(found).removeprefix("0x")


def _span(span: Mapping[str, Any], trace: str, around: Mapping[str, Any]) -> Record:
    status = mapping(span.get("status"))
    code = str(first(status, "code", "status_code") or first(span, "status_code") or "").upper()
    attributes = {key: value if isinstance(value, str) else as_text(value) for key, value in _attributes(span).items()}
    own = mapping(span.get("context")).get("span_id") or required(span, "span_id")
    parent = first(span, "parent_span_id", "parent_id")
    return make_span(
        trace=trace,
        span=str(own).removeprefix("0x"),
        parent=None if parent is None else str(parent).removeprefix("0x"),
        name=span.get("name"),
        start_ns=ns_of(first(span, "start_time_unix_nano", "start_time_ns", "start_time")),
        end_ns=ns_of(first(span, "end_time_unix_nano", "end_time_ns", "end_time")),
        attributes={**around, **attributes},
        error=as_text(first(status, "message", "description") or first(span, "status_message")) or "error"
        if code.rpartition(".")[2] in FAILED
        else None,
        events=[mapping(event) for event in listed(span.get("events"))],
    )


def _attributes(span: Mapping[str, Any]) -> dict[str, Any]:
    """Return a span's attributes, with its inputs, outputs and type where the span has them as fields of its own."""
    fields = {"mlflow.spanInputs": "inputs", "mlflow.spanOutputs": "outputs", "mlflow.spanType": "span_type"}
    own = {name: span[field] for name, field in fields.items() if field in span}
    return {**own, **mapping(span.get("attributes"))}


def _score(assessment: Mapping[str, Any], trace: str) -> Record:
    if "expectation" in assessment:
        raise Refused("an expectation: it says what should be, and judges nothing")
    said = mapping(assessment.get("feedback")).get("value", assessment.get("value"))
    value = number_of(said)
    label = said if isinstance(said, str) and value is None else None
    value = PASSES.get(said.lower(), value) if isinstance(said, str) else value
    if value is None and label is None:
        raise Refused("feedback with neither number nor label")
    span = as_text(assessment.get("span_id"))
    time_ns = ns_of(first(assessment, "last_update_time", "create_time", "last_update_time_ms", "create_time_ms"))
    if time_ns is None:
        raise Refused("feedback without a time")
    return Score(
        required(assessment, "assessment_name", "name"),
        value,
        time_ns,
        trace_id=trace_id_of(trace),
        span_id=span_id_of(span.removeprefix("0x")) if span else b"",
        label=label,
        explanation=as_text(assessment.get("rationale")),
    )


VENDOR = Vendor("mlflow", "traces as JSON, or rows of `search_traces` (JSON with `orient='records'`)", claims, read)
