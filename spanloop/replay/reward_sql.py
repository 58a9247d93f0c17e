"""Reward queries over replays: the files the ETL takes, over spans of the replayed conversation.

A replay is written as a trace of its own: the recorded roots of its trace, and below them its model and tool calls by
the names of the GenAI conventions, whatever instrumentation had written the recording.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from foundation.errors import GateRefused, SettingsError
from otel_exporter.schema import REPLAY
from receiver.schema import LOG_RECORDS, SPANS, connect
from spanloop.replay.episode import Replayed
from spanloop.replay.messages import as_openai
from spanloop.replay.scoring import Score

OUTCOME = "outcome"
Row = dict[str, Any]


def by_sql(directory: Path, data: Path) -> Score:
    """Return the score the queries of a directory give: the reward called `outcome`, else the only one there is."""
    if not directory.is_dir() or not (files := sorted(directory.glob("*.sql"))):
        raise SettingsError(f"--reward-sql {directory} holds no *.sql file", hint="Name a directory with queries.")
    queries = {path: path.read_text() for path in files}

    def score(replays: Sequence[Replayed]) -> list[float | None]:
        roots = _roots(data, sorted({each.state.trace_id for each in replays}))
        traces = [_trace_id(each, number) for number, each in enumerate(replays)]
        rows = [row for each, trace in zip(replays, traces, strict=True) for row in _spans(each, trace, roots)]
        found = _query(queries, rows)
        return [found.get(trace) for trace in traces]

    return score


def _query(queries: dict[Path, str], rows: list[Row]) -> dict[str, float]:
    """Return the outcome of each trace, as the queries have it."""
    given: dict[str, dict[str, float]] = {}
    names = [column.name for column in SPANS]
    with closing(duckdb.connect(":memory:")) as connection:
        spans = pa.Table.from_pylist([{name: row.get(name) for name in names} for row in rows], schema=_schema(SPANS))
        connection.register("spans", spans)
        connection.register("log_records", pa.Table.from_pylist([], schema=_schema(LOG_RECORDS)))
        connection.execute("set enable_external_access = false")
        connection.execute("set lock_configuration = true")
        for path, sql in queries.items():
            try:
                found = connection.sql(sql)
                answered = [] if found is None else found.project("trace_id, name, value").fetchall()
            except duckdb.Error as error:
                # What DuckDB says of a row quotes the row, which may be a prompt.
                raise SettingsError(
                    f"{path}: {type(error).__name__} over replayed spans", hint="Try it: spanloop sql"
                ) from None
            for trace, name, value in answered:
                if trace is not None and value is not None:
                    given.setdefault(trace, {})[name or ""] = float(value)
    called = {name for each in given.values() for name in each}
    if given and OUTCOME not in called and len(called) > 1:
        raise SettingsError(
            f"the queries give {', '.join(sorted(called))}, and none is called {OUTCOME}", hint="Name one of them so."
        )
    if not given:
        raise GateRefused(
            "the reward queries give nothing for replayed spans",
            hint="A replay's calls have the names of the GenAI conventions (gen_ai.output.messages), below the "
            "recorded root: have the queries read these.",
        )
    return {trace: each.get(OUTCOME, next(iter(each.values()))) for trace, each in given.items()}


def _schema(columns: Sequence[Any]) -> pa.Schema:
    types = {
        "VARCHAR": pa.string(), "BIGINT": pa.int64(), "UINTEGER": pa.uint32(), "INTEGER": pa.int32(),
        "TIMESTAMPTZ": pa.timestamp("us", tz="UTC"),
    }  # fmt: skip
    return pa.schema([(column.name, types[column.type]) for column in columns])


def _roots(data: Path, traces: list[str]) -> dict[str, list[Row]]:
    """Return the recorded roots of traces; none of a trace whose spans are no longer kept."""
    names = ", ".join(column.name for column in SPANS)
    reader = connect(data)
    found: dict[str, list[Row]] = {}
    try:
        for start in range(0, len(traces), 500):
            listed = ", ".join(f"'{trace}'" for trace in traces[start : start + 500])
            rows = reader.query(f"select {names} from spans where parent_span_id is null and trace_id in ({listed})")
            for row in rows.to_pylist():
                found.setdefault(row["trace_id"], []).append(row)
    finally:
        reader.close()
    return found


def _trace_id(replayed: Replayed, number: int) -> str:
    return hashlib.sha256(f"{replayed.state.name}/{number}".encode()).hexdigest()[:32]


def _spans(replayed: Replayed, trace: str, roots: dict[str, list[Row]]) -> Iterator[Row]:
    state = replayed.state
    recorded = roots.get(state.trace_id, [])
    yield from ({**row, "trace_id": trace} for row in recorded)
    parent = recorded[0]["span_id"] if recorded else None
    began = recorded[0]["start_ns"] if recorded else 0
    shown = list(state.messages)
    place = len(shown)
    for turn, answer in enumerate(replayed.answers):
        content = {
            "gen_ai.operation.name": "chat",
            "gen_ai.agent.name": state.agent,
            "gen_ai.input.messages": json.dumps([_parts(message) for message in shown]),
            "gen_ai.output.messages": json.dumps([_parts(answer.message)]),
        }
        yield _span(state.project, trace, f"chat-{turn}", parent, "chat", content, began + 2 * turn)
        asked = {call.get("id"): call for call in answer.message.get("tool_calls") or ()}
        place += 1
        while place < len(replayed.messages) and replayed.messages[place]["role"] == "tool":
            said = replayed.messages[place]
            call = asked.get(said.get("tool_call_id")) or {"name": None, "arguments": None}
            content = {
                "gen_ai.operation.name": "execute_tool",
                "gen_ai.tool.name": call["name"],
                "gen_ai.tool.call.id": said.get("tool_call_id"),
                "gen_ai.tool.call.arguments": json.dumps(call["arguments"]),
                "gen_ai.tool.call.result": said.get("text"),
            }
            yield _span(state.project, trace, f"tool-{place}", parent, "execute_tool", content, began + 2 * turn + 1)
            place += 1
        shown = replayed.messages[:place]


def _span(
    project: str, trace: str, name: str, parent: str | None, kind: str, content: dict[str, Any], start_ns: int
) -> Row:
    attributes = {key: value for key, value in content.items() if value is not None} | {REPLAY: "replay"}
    return {
        "project": project,
        "trace_id": trace,
        "span_id": hashlib.sha256(f"{trace}/{name}".encode()).hexdigest()[:16],
        "parent_span_id": parent,
        "name": kind,
        "kind": "client",
        "start_ns": start_ns,
        "end_ns": start_ns + 1,
        "status_code": "unset",
        "scope_name": "spanloop.replay",
        "attributes": json.dumps(attributes),
        "events": "[]",
        "links": "[]",
        "resource": "{}",
    }


def _parts(message: dict[str, Any]) -> dict[str, Any]:
    """Return a message as the GenAI conventions have it."""
    told = as_openai(message)
    parts: list[dict[str, Any]] = []
    if message["role"] == "tool":
        parts.append({"type": "tool_call_response", "id": message.get("tool_call_id"), "response": told["content"]})
    elif told["content"]:
        parts.append({"type": "text", "content": told["content"]})
    parts += [
        {"type": "tool_call", "id": call.get("id"), "name": call["name"], "arguments": call.get("arguments")}
        for call in message.get("tool_calls") or ()
    ]
    return {"role": message["role"], "parts": parts}
