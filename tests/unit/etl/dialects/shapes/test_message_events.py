"""Messages as events, on the span and beside it."""

from typing import Any

from etl.exports.export import decoded
from tests.conversation import ANSWER, ARGUMENTS, ASKED, QUESTION, REQUEST, SCHEMA, TOOL, run
from tests.spans import SECOND_NS, START_NS, span
from tests.unit.etl.dialects.test_variants import record


def stray(span_name: str, name: str, body: Any, at: float) -> dict[str, Any]:
    """Return a record of Traceloop's Anthropic instrumentation, written while its span lasts but naming another."""
    written_ns = START_NS + round(at * SECOND_NS)
    return {
        **record(span_name, name, body),
        "time_ns": None,
        "observed_ns": written_ns,
        "scope_name": "opentelemetry.instrumentation.anthropic",
    }


def test_messages_logged_on_the_span_around_are_the_calls() -> None:
    """opentelemetry-instrumentation-anthropic 0.62.4 in events mode does not make its span the current one."""
    scope = "opentelemetry.instrumentation.anthropic"
    call = {"gen_ai.provider.name": "anthropic", "gen_ai.operation.name": "chat"}
    tools = {"tools": [{"name": "calculator", "description": "Evaluate.", "input_schema": SCHEMA}]}
    asked = {"id": "call_1", "function": {"name": "calculator", "arguments": ARGUMENTS}, "type": "function"}
    spans = [
        span("root", end=9),
        span("one", parent="root", attributes=call, scope=scope, start=1, end=2),
        span("two", parent="root", attributes=call, scope=scope, start=3, end=4),
    ]
    logs = [
        stray("root", "gen_ai.system.message", {"content": ASKED[0]["text"]}, 1.1),
        stray("root", "gen_ai.user.message", {"content": QUESTION}, 1.2),
        stray("root", "gen_ai.user.message", {"content": tools}, 1.3),
        stray("root", "gen_ai.choice", {"message": {}, "finish_reason": "tool_call", "tool_calls": [asked]}, 1.9),
        stray("root", "gen_ai.choice", {"message": {"content": ANSWER}, "finish_reason": "stop"}, 3.9),
    ]

    rows = run((spans, logs)).tables["llm_calls"].sort("start_ns")
    first, second = (decoded("llm_calls", row) for row in rows.iter_rows(named=True))

    assert (first["input"], first["tools"]) == (ASKED, [TOOL])
    assert (first["output"][0]["tool_calls"], first["output"][0]["finish_reason"]) == ([REQUEST], "tool_use")
    assert (second["input"], second["output"][0]["text"]) == (None, ANSWER)


def test_messages_that_could_be_of_two_calls_are_nobodys() -> None:
    """Two calls lasted when the record was written: a guess would put words into the wrong one's mouth."""
    scope = "opentelemetry.instrumentation.anthropic"
    call = {"gen_ai.provider.name": "anthropic", "gen_ai.operation.name": "chat"}
    spans = [
        span("root", end=9),
        span("one", parent="root", attributes=call, scope=scope, start=1, end=3),
        span("two", parent="root", attributes=call, scope=scope, start=1, end=3),
    ]

    rows = run((spans, [stray("root", "gen_ai.user.message", {"content": QUESTION}, 2)])).tables["llm_calls"]

    assert rows["input"].to_list() == [None, None]


def test_each_block_of_anthropics_turns_is_read() -> None:
    """opentelemetry-instrumentation-anthropic 0.62.4 in events mode: a choice a block, the results in one message."""
    call = {"gen_ai.provider.name": "anthropic", "gen_ai.operation.name": "chat"}
    blocks = [{"type": "tool_result", "tool_use_id": f"call_{n}", "content": str(n)} for n in (1, 2)]
    asked = {"id": "call_3", "function": {"name": "calculator", "arguments": ARGUMENTS}, "type": "function"}
    logs = [
        record("chat", "gen_ai.user.message", {"content": blocks}),
        record(
            "chat", "gen_ai.choice", {"index": 0, "message": {"content": "One more."}, "finish_reason": "tool_call"}
        ),
        record(
            "chat", "gen_ai.choice", {"index": 1, "message": {}, "finish_reason": "tool_call", "tool_calls": [asked]}
        ),
    ]

    rows = run(([span("chat", attributes=call, scope="opentelemetry.instrumentation.anthropic")], logs))
    (read_call,) = (decoded("llm_calls", row) for row in rows.tables["llm_calls"].iter_rows(named=True))

    assert [message["tool_call_id"] for message in read_call["input"]] == ["call_1", "call_2"]
    (answer,) = read_call["output"]
    assert (answer["text"], [request["id"] for request in answer["tool_calls"]]) == ("One more.", ["call_3"])


def test_a_developers_message_is_an_event_of_its_own() -> None:
    """opentelemetry-instrumentation-openai-v2 2.4b0 names the event after whatever role the message has."""
    attributes = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m", "gen_ai.system": "openai"}
    logs = [
        record("call", "gen_ai.developer.message", {"content": [{"type": "text", "text": ASKED[0]["text"]}]}),
        record("call", "gen_ai.user.message", {"content": QUESTION}),
    ]

    calls = run(([span("call", attributes=attributes)], logs)).tables["llm_calls"]

    assert decoded("llm_calls", calls.row(0, named=True))["input"] == ASKED


def test_a_result_that_is_an_event_and_in_the_users_turn_is_one() -> None:
    """opentelemetry-instrumentation-botocore 0.66b2 writes both; the same result of another call is one more."""
    call = {"gen_ai.system": "aws.bedrock", "gen_ai.operation.name": "chat"}
    ids = ("call_1", "call_2")
    asked = [{"id": i, "type": "function", "function": {"name": "look", "arguments": {"q": "a"}}} for i in ids]
    blocks = [{"toolResult": {"toolUseId": i, "content": [{"text": "4 °C"}], "status": "success"}} for i in ids]
    logs = [
        record("chat", "gen_ai.user.message", {"content": [{"text": "Look."}]}),
        record("chat", "gen_ai.assistant.message", {"content": [{"text": "I do."}], "tool_calls": asked}),
        *(record("chat", "gen_ai.tool.message", {"id": i, "content": [{"text": "4 °C"}]}) for i in ids),
        record("chat", "gen_ai.user.message", {"content": blocks}),
        record("chat", "gen_ai.choice", {"index": 0, "message": {"content": [{"text": "Cold."}]}}),
    ]
    scope = "opentelemetry.instrumentation.botocore.bedrock-runtime"

    rows = run(([span("chat", attributes=call, scope=scope)], logs)).tables["transitions"]
    (observation,) = (decoded("transitions", row)["observation"] for row in rows.iter_rows(named=True))

    said = [(message["role"], message["text"], message.get("tool_call_id")) for message in observation]
    assert said == [
        ("user", "Look.", None),
        ("assistant", "I do.", None),
        ("tool", "4 °C", "call_1"),
        ("tool", "4 °C", "call_2"),
    ]
