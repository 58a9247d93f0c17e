"""Phoenix: spans and annotations, of its client's data frames or its API; attributes are OpenInference's.

https://arize.com/docs/phoenix/tracing/how-to-tracing/importing-and-exporting-traces
"""

from collections.abc import Iterator
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
)
from receiver.history.rows import Row

KIND = "openinference.span.kind"
PREFIX = "attributes."

JSON_TEXTS = (
    "metadata",
    "input.value",
    "output.value",
    "llm.invocation_parameters",
    "llm.prompt_template.variables",
    "tool.parameters",
    ".arguments",
    ".json_schema",
    ".tool_call.function.arguments",
)
"""Ends of attributes that are JSON text on a span; Phoenix gives some of them back as objects."""

INDEX = "__index_level_0__"
"""What Parquet calls the index of a data frame: here the ids of the spans."""


def claims(row: Row) -> bool:
    """Tell whether a row is a span or an annotation."""
    return _is_span(row) or _is_annotation(row)


def _is_span(row: Row) -> bool:
    context = row.get("context")
    nested = isinstance(decoded(context), dict) and ("span_kind" in row or "attributes" in row)
    return "context.trace_id" in row or nested


def _is_annotation(row: Row) -> bool:
    return "annotator_kind" in row and ("span_id" in row or INDEX in row)


def read(row: Row, _: int) -> Iterator[Record]:
    """Read a span or an annotation."""
    yield _span(row) if _is_span(row) else _annotation(row)


def _span(row: Row) -> Record:
    context = {**mapping(row.get("context")), **{key[8:]: row[key] for key in row if key.startswith("context.")}}
    attributes: dict[str, Any] = {}
    for key, value in row.items():
        if key.startswith(PREFIX):
            _flatten(key.removeprefix(PREFIX), _parsed(key, value), attributes)
    for key, value in mapping(row.get("attributes")).items():
        _flatten(key, value, attributes)
    attributes.setdefault(KIND, first(row, "span_kind"))
    failed = str(row.get("status_code")).upper().endswith("ERROR")
    return make_span(
        trace=required(context, "trace_id"),
        span=required({INDEX: row.get(INDEX), **context}, "span_id", INDEX),
        parent=as_text(row.get("parent_id")),
        name=row.get("name"),
        start_ns=ns_of(row.get("start_time")),
        end_ns=ns_of(row.get("end_time")),
        attributes=attributes,
        error=(as_text(row.get("status_message")) or "error") if failed else None,
        events=[mapping(event) for event in listed(row.get("events"))],
    )


def _parsed(key: str, value: Any) -> Any:  # noqa: ANN401 - any value of a column
    """Return a column's value, with its JSON text parsed where it stands for a list of parts; CSV has only text."""
    return value if key.endswith(JSON_TEXTS) else decoded(value)


def _flatten(key: str, value: Any, into: dict[str, Any]) -> None:  # noqa: ANN401
    """Put a value under its dotted name, lists of objects under numbers, as OpenInference has them on a span."""
    if value is None:
        return
    if isinstance(value, dict) and not key.endswith(JSON_TEXTS):
        for name, item in value.items():
            _flatten(f"{key}.{name}", item, into)
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value) and not key.endswith(JSON_TEXTS):
        for number, item in enumerate(value):
            _flatten(f"{key}.{number}", item, into)
    else:
        into[key] = as_text(value) if isinstance(value, dict) else value


def _annotation(row: Row) -> Record:
    result = {**mapping(row.get("result")), **{key[7:]: row[key] for key in row if key.startswith("result.")}}
    result = {**{key: row[key] for key in ("score", "label", "explanation") if key in row}, **result}
    value, label = number_of(result.get("score")), as_text(result.get("label"))
    if value is None and label is None:
        raise Refused("an annotation with neither score nor label")
    time_ns = ns_of(first(row, "updated_at", "created_at"))
    if time_ns is None:
        raise Refused("no created_at")
    return Score(
        required(row, "annotation_name", "name"),
        value,
        time_ns,
        span_id=span_id_of(required(row, "span_id", INDEX)),
        label=label,
        explanation=as_text(result.get("explanation")),
    )


VENDOR = Vendor(
    "phoenix",
    "spans and annotations, of its client's data frames (JSON with `orient='records'`) or its API",
    claims,
    read,
)
