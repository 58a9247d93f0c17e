"""Spring AI, from its documentation."""

from tests.conversation import ARGUMENTS, dump, run
from tests.spans import span
from tests.unit.etl.dialects.reading import calls_of, tools_of


def test_spring_ai_has_tools_and_conversations_in_spans_of_its_own() -> None:
    """Spring AI 1 and 2, from its documentation: chat client around the conventions' calls, values written as text."""
    client = {
        "gen_ai.operation.name": "framework",
        "gen_ai.system": "spring_ai",
        "spring.ai.kind": "chat_client",
        "spring.ai.chat.client.conversation.id": "c-1",
        "spring.ai.chat.client.tool.names": '["calculator"]',
    }
    chat = {
        "gen_ai.operation.name": "chat",
        "gen_ai.system": "openai",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.request.temperature": "0.7",
        "gen_ai.response.id": "chatcmpl-1",
        "gen_ai.response.finish_reasons": '["TOOL_CALLS"]',
        "gen_ai.usage.input_tokens": "101",
        "gen_ai.usage.output_tokens": "11",
    }
    tool = {
        "gen_ai.operation.name": "framework",
        "spring.ai.kind": "tool_call",
        "spring.ai.tool.definition.name": "calculator",
        "spring.ai.tool.call.id": "call_1",
        "spring.ai.tool.call.arguments": dump(ARGUMENTS),
        "spring.ai.tool.call.result": '"84"',
    }
    scope = "org.springframework.boot"
    spans = [
        span("spring_ai chat_client", end=9, attributes=client, scope=scope),
        span("chat gpt-4o-mini", parent="spring_ai chat_client", attributes=chat, scope=scope),
        span("tool_call calculator", parent="spring_ai chat_client", start=2, attributes=tool, scope=scope),
    ]

    dataset = run((spans, []))

    (call,) = calls_of(dataset)
    assert call["params"] == {"temperature": 0.7}
    assert call["output"][0]["finish_reason"] == "tool_calls"
    assert (call["usage"]["input_tokens"], call["response_id"]) == (101, "chatcmpl-1")
    (execution,) = tools_of(dataset)
    assert (execution["name"], execution["tool_call_id"]) == ("calculator", "call_1")
    assert (execution["arguments"], execution["result"]) == (ARGUMENTS, "84")
