"""MLflow's traces: their JSON in each of its versions, and rows of `search_traces`."""

import base64
from pathlib import Path
from typing import Any

import orjson

from tests.history import imported, transitions, write_lines

TRACE = "0af7651916cd43dd8448eb211c80319c"
START_NS = 1716990379963000000
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
ASKED = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Oslo?"}]
AGAIN = [
    *ASKED,
    {"role": "assistant", "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "call_1", "content": "4"},
]


def span(number: int, kind: str, name: str, inputs: Any = None, outputs: Any = None) -> dict[str, Any]:
    """Return a span as `Span.to_dict` has it; every attribute is JSON text."""
    attributes = {"mlflow.spanType": kind, "mlflow.spanInputs": inputs, "mlflow.spanOutputs": outputs}
    return {
        "trace_id": f"tr-{TRACE}",
        "span_id": f"{number:016x}",
        "parent_span_id": None if number == 1 else f"{1:016x}",
        "name": name,
        "start_time_unix_nano": START_NS + number * 10**9,
        "end_time_unix_nano": START_NS + (number + 1) * 10**9,
        "events": [],
        "status": {"code": "OK", "message": ""},
        "attributes": {key: orjson.dumps(value).decode() for key, value in attributes.items() if value is not None},
        "mlflow_span_version": 4,
        "otel_trace_id": TRACE,
    }


def answer(message: dict[str, Any], number: int) -> dict[str, Any]:
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return {"id": f"chatcmpl-{number}", "object": "chat.completion", "model": "gpt-4o-mini", "choices": [choice]}


SPANS = [
    span(1, "AGENT", "TravelAgent"),
    span(
        2,
        "CHAT_MODEL",
        "Completions",
        {"messages": ASKED, "model": "gpt-4o-mini", "temperature": 0.7},
        answer({"role": "assistant", "content": None, "tool_calls": [CALL]}, 2),
    ),
    span(3, "TOOL", "weather", {"city": "Oslo"}, "4"),
    span(
        4,
        "CHAT_MODEL",
        "Completions",
        {"messages": AGAIN, "model": "gpt-4o-mini", "temperature": 0.7},
        answer({"role": "assistant", "content": "4 degrees."}, 4),
    ),
]


def assessment(name: str, **fields: Any) -> dict[str, Any]:
    return {
        "assessment_id": "a-1",
        "assessment_name": name,
        "trace_id": f"tr-{TRACE}",
        "source": {"source_type": "HUMAN", "source_id": "ann"},
        "create_time": "2024-05-29T14:00:00Z",
        "last_update_time": "2024-05-29T14:00:00Z",
        **fields,
    }


ASSESSMENTS = [
    assessment("outcome", feedback={"value": True}, rationale="right"),
    assessment("expected_response", expectation={"value": "4 degrees"}),
]
INFO = {
    "trace_id": f"tr-{TRACE}",
    "request_time": "2024-05-29T13:46:19.963Z",
    "state": "OK",
    "trace_metadata": {"mlflow.trace.session": "s1", "mlflow.trace.user": "u1"},
    "assessments": ASSESSMENTS,
}
JSON = {"info": INFO, "data": {"spans": SPANS}}


def check(made: list[dict[str, Any]]) -> None:
    assert [(one["agent"], one["trace_id"], one["span_id"]) for one in made] == [
        ("TravelAgent", TRACE, f"{2:016x}"),
        ("TravelAgent", TRACE, f"{4:016x}"),
    ]
    assert [one["action"]["text"] for one in made] == [None, "4 degrees."]
    assert made[0]["action"]["tool_calls"][0]["arguments"] == {"city": "Oslo"}
    assert [message["role"] for message in made[1]["observation"]] == ["system", "user", "assistant", "tool"]
    assert [one["outcome"] for one in made] == [1.0, 1.0]


def test_a_trace_s_json_becomes_transitions(tmp_path: Path) -> None:
    """Its feedback is a reward; what it expects is none, and is said to be left out."""
    outcome, made, dataset = transitions("mlflow", write_lines(tmp_path / "t.jsonl", [JSON]))

    assert (outcome.rows, outcome.imported, outcome.spans, outcome.scores) == (1, 1, 4, 1)
    assert outcome.left_out.total() == 1
    check(made)
    assert dataset.tables["tool_calls"]["result"].to_list() == ["4"]
    assert dataset.tables["llm_calls"].sort("start_ns")["response_id"].to_list() == ["chatcmpl-2", "chatcmpl-4"]


def test_rows_of_search_traces_and_older_versions_say_the_same(tmp_path: Path) -> None:
    """The trace as JSON text in a column, its parts in columns, ids as bytes in base64 or in a context."""
    encoded = [
        {
            **{key: value for key, value in one.items() if key != "otel_trace_id"},
            "trace_id": base64.b64encode(bytes.fromhex(TRACE)).decode(),
            "span_id": base64.b64encode(bytes.fromhex(one["span_id"])).decode(),
            "parent_span_id": base64.b64encode(bytes.fromhex(one["parent_span_id"] or "")).decode(),
            "status": {"code": "STATUS_CODE_OK", "message": ""},
        }
        for one in SPANS
    ]
    second = [
        {
            "name": one["name"],
            "context": {"trace_id": f"0x{TRACE}", "span_id": f"0x{one['span_id']}"},
            "parent_id": f"0x{one['parent_span_id']}" if one["parent_span_id"] else None,
            "start_time": one["start_time_unix_nano"],
            "end_time": one["end_time_unix_nano"],
            "status_code": "OK",
            "status_message": "",
            "attributes": one["attributes"],
            "events": [],
        }
        for one in SPANS
    ]
    rows = {
        "text": {"trace_id": f"tr-{TRACE}", "trace": orjson.dumps(JSON).decode(), "state": "OK"},
        "columns": {**INFO, "spans": orjson.dumps(SPANS).decode(), "assessments": orjson.dumps(ASSESSMENTS).decode()},
        "base64": {"info": INFO, "data": {"spans": encoded}},
        "second": {"request_id": TRACE, "spans": second, "assessments": ASSESSMENTS},
    }

    for name, row in rows.items():
        check(transitions("mlflow", write_lines(tmp_path / f"{name}.jsonl", [row]))[1])


def test_spans_still_running_are_left_out_and_said_to_be(tmp_path: Path) -> None:
    """A row of nothing but such spans is refused; a failed one says why."""
    running = {**SPANS[1], "end_time_unix_nano": None}
    failed = {**SPANS[3], "status": {"code": "STATUS_CODE_ERROR", "message": "429"}}
    judged = [assessment("verdict", feedback={"value": "yes"}), assessment("tone", feedback={"value": "warm"})]
    rows = [
        {"info": {**INFO, "assessments": judged}, "data": {"spans": [running, failed]}},
        {"info": {"trace_id": "tr-x"}, "data": {"spans": [running]}},
    ]

    outcome, spans, logs = imported("mlflow", write_lines(tmp_path / "t.jsonl", rows))

    assert (outcome.imported, outcome.refused.total(), outcome.left_out.total()) == (1, 1, 1)
    assert (spans["status_code"].to_list(), spans["status_message"].to_list()) == (["error"], ["429"])
    assert [orjson.loads(one).get("gen_ai.evaluation.score.value") for one in logs["attributes"]] == [1.0, None]
