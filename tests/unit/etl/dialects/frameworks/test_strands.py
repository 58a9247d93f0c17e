"""Strands: attributes as it wrote them, where a first reading was wrong."""

from tests.conversation import ARGUMENTS, QUESTION, TOOL, dump, run
from tests.spans import START_NS, span
from tests.unit.etl.dialects.reading import calls_of, parts, tools_of


def test_strands_records_a_result_as_blocks() -> None:
    """Strands 1.62, latest conventions: Bedrock's blocks in the tool's result; definitions on the agent, if asked."""
    agent = {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.provider.name": "strands-agents",
        "gen_ai.agent.name": "MathAgent",
        "gen_ai.agent.tools": dump(["calculator"]),
        "gen_ai.tool.definitions": dump([{"type": "function", **TOOL}]),
    }
    chat = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "strands-agents",
        "gen_ai.request.model": "gpt-4o-mini",
    }
    details = {
        "name": "gen_ai.client.inference.operation.details",
        "time_ns": START_NS,
        "attributes": {"gen_ai.input.messages": parts("user", {"type": "text", "content": QUESTION})},
    }
    execution = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.provider.name": "strands-agents",
        "gen_ai.tool.name": "calculator",
        "gen_ai.tool.call.id": "call_1",
        "gen_ai.tool.call.arguments": dump(ARGUMENTS),
        "gen_ai.tool.call.result": dump([{"text": "84"}]),
        "gen_ai.tool.status": "success",
    }
    scope = "strands.telemetry.tracer"
    spans = [
        span("invoke_agent MathAgent", end=9, attributes=agent, scope=scope),
        span("chat", parent="invoke_agent MathAgent", attributes=chat, events=[details], scope=scope),
        span("execute_tool calculator", parent="invoke_agent MathAgent", start=2, attributes=execution, scope=scope),
    ]

    dataset = run((spans, []))

    (call,) = calls_of(dataset)
    assert (call["agent"], call["tools"]) == ("MathAgent", [TOOL])
    (tool,) = tools_of(dataset)
    assert (tool["result"], tool["arguments"]) == ("84", ARGUMENTS)
