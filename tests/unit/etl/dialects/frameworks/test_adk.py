"""Google's ADK: attributes as it wrote them, where a first reading was wrong."""

from tests.conversation import QUESTION, dump, run
from tests.spans import START_NS, identifier, span
from tests.unit.etl.dialects.reading import calls_of, tools_of


def test_adks_call_and_its_client_beneath_are_one() -> None:
    """ADK 2.13, its first schema, content hidden from logs: `call_llm` is whole, `generate_content` is elided."""
    request = {
        "model": "gemini-2.5-flash",
        "config": {"max_output_tokens": 50},
        "contents": [{"role": "user", "parts": [{"text": QUESTION}]}],
    }
    response = {
        "model_version": "gemini-2.5-flash-001",
        "content": {"role": "model", "parts": [{"text": "84"}]},
        "finish_reason": "STOP",
    }
    outer = {
        "gen_ai.system": "gcp.vertex.agent",
        "gen_ai.request.model": "gemini-2.5-flash",
        "gen_ai.request.max_tokens": 50,
        "gcp.vertex.agent.llm_request": dump(request),
        "gcp.vertex.agent.llm_response": dump(response),
    }
    inner = {
        "gen_ai.system": "gemini",
        "gen_ai.operation.name": "generate_content",
        "gen_ai.request.model": "gemini-2.5-flash",
    }
    logs = [
        {
            "project": "default",
            "trace_id": identifier("t", 32),
            "span_id": identifier("generate_content gemini-2.5-flash", 16),
            "event_name": name,
            "time_ns": START_NS,
            "observed_ns": START_NS,
            "body": dump(body),
            "attributes": "{}",
            "received_seq": 1,
            "record_index": index,
        }
        for index, (name, body) in enumerate(
            [
                ("gen_ai.user.message", {"content": "<elided>"}),
                ("gen_ai.choice", {"content": "<elided>", "index": 0, "finish_reason": "STOP"}),
            ]
        )
    ]
    spans = [
        span("call_llm", attributes=outer, scope="gcp.vertex.agent", end=3),
        span("generate_content gemini-2.5-flash", parent="call_llm", attributes=inner, scope="gcp.vertex.agent"),
    ]

    (call,) = calls_of(run((spans, logs)))

    assert call["input"] == [{"role": "user", "text": QUESTION}]
    assert (call["output"][0]["text"], call["output"][0]["finish_reason"]) == ("84", "STOP")
    assert (call["model_returned"], call["params"]) == ("gemini-2.5-flash-001", {"max_output_tokens": 50})


def test_adks_placeholder_is_no_id_of_a_tool_call() -> None:
    """ADK 2.13: a failed tool's span says that its id is not specified."""
    attributes = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "lookup_order",
        "gen_ai.tool.call.id": "<not specified>",
    }
    spans = [
        span(
            "execute_tool lookup_order", attributes=attributes, scope="gcp.vertex.agent", status="error", message="No."
        )
    ]

    (tool,) = tools_of(run((spans, [])))

    assert (tool["tool_call_id"], tool["error"]) == (None, "No.")
