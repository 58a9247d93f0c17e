"""AutoGen: attributes as it wrote them, where a first reading was wrong."""

from tests.conversation import QUESTION, REQUEST, TOOL, dump
from tests.spans import span
from tests.unit.etl.dialects.reading import parts, read


def test_a_call_that_offered_no_tools_is_not_given_those_of_its_role() -> None:
    """AutoGen 0.7 with `reflect_on_tool_use`, Traceloop's openai 0.62 below: the summary is asked for without tools."""
    chat = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o-mini",
    }
    asked = {"role": "user", "parts": [{"type": "text", "content": QUESTION}]}
    request = {"type": "tool_call", **REQUEST}
    used = {"role": "assistant", "parts": [request]}
    result = {"role": "tool", "parts": [{"type": "tool_call_response", "id": "call_1", "response": "84"}]}
    acts = {
        **chat,
        "gen_ai.tool.definitions": dump([{"type": "function", **TOOL}]),
        "gen_ai.input.messages": dump([asked]),
        "gen_ai.output.messages": parts("assistant", request),
    }
    sums_up = {
        **chat,
        "gen_ai.input.messages": dump([asked, used, result]),
        "gen_ai.output.messages": parts("assistant", {"type": "text", "content": "84"}),
    }
    scope = "opentelemetry.instrumentation.openai.v1"
    run_of = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "MathAgent", "gen_ai.system": "autogen"}

    acting, summing_up = read(
        span("invoke_agent MathAgent", attributes=run_of, scope="autogen-core", end=9),
        span("openai.chat", parent="invoke_agent MathAgent", attributes=acts, scope=scope),
        span("openai.chat 2", parent="invoke_agent MathAgent", attributes=sums_up, scope=scope, start=2),
    )

    assert acting["tools"] == [TOOL]
    assert summing_up["tools"] is None
