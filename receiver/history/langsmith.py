"""LangSmith: runs of the bulk export or the API, and feedback; attributes are those of its OpenTelemetry mode.

https://docs.langchain.com/langsmith/run-data-format, https://docs.langchain.com/langsmith/feedback-data-format
"""

from collections.abc import Iterator
from typing import Any

from receiver.history.records import (
    Record,
    Refused,
    Score,
    Vendor,
    as_text,
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

OPERATIONS = {"llm": "chat", "tool": "execute_tool", "retriever": "embeddings", "embedding": "embeddings"}

PARAMETERS = {
    **{name: name for name in ("temperature", "top_p", "max_tokens", "seed", "frequency_penalty", "presence_penalty")},
    "max_completion_tokens": "max_tokens",
    "stop": "stop_sequences",
}
"""Parameters of an invocation, by what they are called on a span after `gen_ai.request.`."""

COUNTS = {"prompt_tokens": "input_tokens", "completion_tokens": "output_tokens", "total_tokens": "total_tokens"}


def claims(row: Row) -> bool:
    """Tell whether a row is a run or feedback."""
    return ("run_type" in row and "id" in row) or _is_feedback(row)


def _is_feedback(row: Row) -> bool:
    return "key" in row and "run_id" in row and "run_type" not in row


def read(row: Row, _: int) -> Iterator[Record]:
    """Read feedback, or a run with what its feedback comes to."""
    if _is_feedback(row):
        yield _feedback(row)
        return
    identifier = required(row, "id")
    ancestors = _ancestors(row)
    trace = str(first(row, "trace_id") or (ancestors[0] if ancestors else identifier))
    error = as_text(row.get("error"))
    start_ns = ns_of(row.get("start_time"))
    yield make_span(
        trace=trace,
        span=identifier,
        parent=ancestors[-1] if ancestors else None,
        name=row.get("name"),
        start_ns=start_ns,
        end_ns=ns_of(row.get("end_time")),
        attributes=_attributes(row),
        error=error or "error" if error or row.get("status") == "error" else None,
    )
    for name, said in mapping(row.get("feedback_stats")).items():
        mean = number_of(mapping(said).get("avg"))
        if mean is not None:
            count = mapping(said).get("n")
            yield Score(
                name,
                mean,
                ns_of(row.get("end_time")) or 0,
                trace_id=trace_id_of(trace),
                span_id=span_id_of(identifier),
                explanation=None if count == 1 else f"mean of {count}",
            )


def _ancestors(row: Row) -> list[str]:
    """Return the runs a run is below, the outermost first."""
    order = str(row.get("dotted_order") or "").split(".")[:-1]
    if order:
        # A segment is a time, the letter Z, and the run's id.
        return [segment.partition("Z")[2] for segment in order]
    listed_ = [str(one) for one in listed(row.get("parent_run_ids"))]
    parent = first(row, "parent_run_id")
    return listed_ or ([str(parent)] if parent else [])


def _attributes(row: Row) -> dict[str, Any]:
    kind = str(row["run_type"]).lower()
    extra = mapping(row.get("extra"))
    metadata = mapping(extra.get("metadata"))
    invocation = mapping(extra.get("invocation_params")) or mapping(metadata.get("invocation_params"))
    attributes = {
        "langsmith.span.kind": kind,
        "langsmith.trace.name": row.get("name"),
        "langsmith.trace.session_id": first(row, "session_id"),
        "langsmith.trace.session_name": first(row, "session_name"),
        "langsmith.span.tags": ", ".join(map(str, listed(row.get("tags")))),
        "gen_ai.operation.name": OPERATIONS.get(kind, kind),
        "gen_ai.request.model": first(metadata, "ls_model_name") or first(invocation, "model", "model_name"),
        "gen_ai.tool.definitions": as_text(invocation.get("tools")),
        "gen_ai.prompt": as_text(row.get("inputs")),
        "gen_ai.completion": as_text(row.get("outputs")),
    }
    if kind == "tool":
        attributes["gen_ai.tool.name"] = row.get("name")
        attributes["gen_ai.tool.call.id"] = first(metadata, "tool_call_id") or extra.get("tool_call_id")
    for name, ours in PARAMETERS.items():
        if invocation.get(name) is not None:
            attributes[f"gen_ai.request.{ours}"] = invocation[name]
    for name, ours in COUNTS.items():
        count = number_of(row.get(name))
        if count is not None and kind == "llm":
            attributes[f"gen_ai.usage.{ours}"] = int(count)
    attributes |= {f"langsmith.metadata.{key}": value for key, value in metadata.items()}
    return attributes


def _feedback(row: Row) -> Record:
    value = number_of(row.get("score"))
    said = row.get("value")
    label = said if isinstance(said, str) and said else None
    if value is None and label is None:
        raise Refused("feedback with neither score nor value")
    time_ns = ns_of(first(row, "modified_at", "created_at"))
    if time_ns is None:
        raise Refused("no created_at")
    run, trace = required(row, "run_id"), as_text(row.get("trace_id"))
    return Score(
        required(row, "key"),
        value,
        time_ns,
        trace_id=trace_id_of(trace) if trace else b"",
        span_id=span_id_of(run),
        label=label,
        explanation=as_text(row.get("comment")),
    )


VENDOR = Vendor("langsmith", "runs of the bulk export or the API, and feedback", claims, read)
