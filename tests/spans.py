"""Small spans in the receiver's own columns, for tests that need no recording."""

import json
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import polars as pl

from otel_exporter import schema as names
from receiver.schema import TABLES

Span = dict[str, Any]

START_NS = 1_790_000_000_000_000_000
SECOND_NS = 1_000_000_000
POLARS_TYPES = {
    "VARCHAR": pl.String(),
    "BIGINT": pl.Int64(),
    "INTEGER": pl.Int32(),
    "UINTEGER": pl.UInt32(),
    "TIMESTAMPTZ": pl.Datetime("us", "UTC"),
}


def identifier(name: str, digits: int) -> str:
    """Return the id a name stands for."""
    return sha256(name.encode()).hexdigest()[:digits]


def span(
    name: str,
    *,
    trace: str = "t",
    parent: str | None = None,
    start: float = 0.0,
    end: float | None = None,
    attributes: dict[str, Any] | None = None,
    events: Sequence[dict[str, Any]] = (),
    scope: str = "app",
    status: str = "unset",
    message: str | None = None,
    seq: int = 1,
    received: float = 0.0,
    resource: dict[str, Any] | None = None,
) -> Span:
    """Return one span; `name` is also what its id is made of, times are seconds."""
    start_ns = START_NS + round(start * SECOND_NS)
    end_ns = START_NS + round((start + 1 if end is None else end) * SECOND_NS)
    return {
        "project": "default",
        "trace_id": identifier(trace, 32),
        "span_id": identifier(name, 16),
        "parent_span_id": None if parent is None else identifier(parent, 16),
        "name": name,
        "kind": "internal",
        "start_ns": start_ns,
        "end_ns": end_ns,
        "start_time": start_ns // 1000,
        "end_time": end_ns // 1000,
        "status_code": status,
        "status_message": message,
        "service_name": "test",
        "resource": json.dumps(resource or {"service.name": "test"}),
        "scope_name": scope,
        "attributes": json.dumps(attributes or {}),
        "events": json.dumps(list(events)),
        "links": "[]",
        "flags": 1,
        "dropped_attributes_count": 0,
        "dropped_events_count": 0,
        "dropped_links_count": 0,
        "received_time": START_NS // 1000 + round(received * 1_000_000),
        "received_seq": seq,
    }


def messages(*turns: tuple[str, str]) -> str:
    """Return messages in the conventions' shape, as (role, text)."""
    return json.dumps([{"role": role, "parts": [{"type": "text", "content": text}]} for role, text in turns])


def llm(
    name: str,
    *,
    asked: Sequence[tuple[str, str]] = (("user", "hi"),),
    said: str | None = "hello",
    calls: Sequence[tuple[str, str, dict[str, Any]]] = (),
    response_id: str | None = None,
    agent: str | None = None,
    attributes: dict[str, Any] | None = None,
    scope: str = "opentelemetry.instrumentation.genai.openai",
    **rest: Any,
) -> Span:
    """Return a model call in the GenAI conventions; `calls` are the (id, name, arguments) it asks for."""
    parts: list[dict[str, Any]] = [] if said is None else [{"type": "text", "content": said}]
    parts += [{"type": "tool_call", "id": i, "name": n, "arguments": a} for i, n, a in calls]
    fields: dict[str, Any] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "m",
        "gen_ai.input.messages": messages(*asked),
        "gen_ai.output.messages": json.dumps([{"role": "assistant", "parts": parts, "finish_reason": "stop"}]),
    }
    if response_id is not None:
        fields["gen_ai.response.id"] = response_id
    if agent is not None:
        fields["gen_ai.agent.name"] = agent
    return span(name, attributes={**fields, **(attributes or {})}, scope=scope, **rest)


def gateway(
    name: str,
    *,
    prompt_ids: Sequence[int] = (1, 2, 3),
    ids: Sequence[int] = (4, 5),
    logprobs: Sequence[float] | None = (-0.5, -0.25),
    temperature: float | None = 1.0,
    policy: str = "policy-1",
    **rest: Any,
) -> Span:
    """Return the gateway's span of a call, with token ids and log-probabilities."""
    fields: dict[str, Any] = {
        names.PROMPT_TOKEN_IDS: list(prompt_ids),
        names.CHOICE_TOKEN_IDS.format(index=0): list(ids),
        names.LOGPROBS_MODE: "processed",
        names.POLICY_VERSION: policy,
    }
    if logprobs is not None:
        fields[names.CHOICE_LOGPROBS.format(index=0)] = list(logprobs)
    if temperature is not None:
        fields["gen_ai.request.temperature"] = temperature
    return llm(name, attributes=fields, scope=names.GATEWAY_SCOPE, **rest)


def tool(name: str, *, tool_name: str, call_id: str | None = None, arguments: Any = None, **rest: Any) -> Span:
    """Return a tool execution in the GenAI conventions."""
    fields: dict[str, Any] = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": tool_name}
    if call_id is not None:
        fields["gen_ai.tool.call.id"] = call_id
    if arguments is not None:
        fields["gen_ai.tool.call.arguments"] = json.dumps(arguments)
    return span(name, attributes=fields, **rest)


def agent(name: str, *, agent_name: str, **rest: Any) -> Span:
    """Return an agent span in the GenAI conventions."""
    return span(name, attributes={"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": agent_name}, **rest)


def evaluation(
    value: float | None, *, name: str = "outcome", at: float = 10.0, label: str | None = None
) -> dict[str, Any]:
    """Return a reward as a span event."""
    attributes: dict[str, Any] = {names.EVALUATION_NAME: name}
    if value is not None:
        attributes[names.EVALUATION_SCORE] = value
    if label is not None:
        attributes[names.EVALUATION_LABEL] = label
    return {"name": names.EVALUATION_EVENT, "time_ns": START_NS + round(at * SECOND_NS), "attributes": attributes}


def spans_frame(rows: Sequence[Span]) -> pl.DataFrame:
    """Return spans as the receiver's table."""
    return _frame("spans", rows)


def logs_frame(rows: Sequence[dict[str, Any]] = ()) -> pl.DataFrame:
    """Return log records as the receiver's table."""
    return _frame("log_records", rows)


def reward_record(
    value: float,
    *,
    trace: str = "t",
    span_name: str | None = None,
    name: str = "outcome",
    at: float = 20.0,
    seq: int = 9,
) -> dict[str, Any]:
    """Return a reward as a log record."""
    time_ns = START_NS + round(at * SECOND_NS)
    return {
        "project": "default",
        "trace_id": identifier(trace, 32),
        "span_id": None if span_name is None else identifier(span_name, 16),
        "event_name": names.EVALUATION_EVENT,
        "time_ns": time_ns,
        "observed_ns": time_ns,
        "body": None,
        "attributes": json.dumps({names.EVALUATION_NAME: name, names.EVALUATION_SCORE: value}),
        "received_seq": seq,
        "record_index": 0,
    }


def _frame(table: str, rows: Sequence[dict[str, Any]]) -> pl.DataFrame:
    schema = {column.name: POLARS_TYPES[column.type] for column in TABLES[table]}
    return pl.DataFrame({name: [row.get(name) for row in rows] for name in schema}, schema=schema)
