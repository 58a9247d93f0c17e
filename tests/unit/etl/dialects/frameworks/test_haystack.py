"""Haystack: attributes as it wrote them, where a first reading was wrong."""

from typing import Any

from tests.conversation import ARGUMENTS, QUESTION, REQUEST, TOOL, dump, run
from tests.spans import span
from tests.unit.etl.dialects.reading import calls_of, tools_of


def test_haystack_3_gives_an_agents_calls_and_tools_spans_of_their_own() -> None:
    """Haystack 3.4 with opentelemetry-haystack 2.0: `haystack.agent.step.llm` and `.tool` instead of components."""
    tool = {"type": "haystack.tools.tool.Tool", "data": {**TOOL, "function": "app.calculator"}}
    asked: dict[str, Any] = {"role": "user", "meta": {}, "name": None, "content": [{"text": QUESTION}]}
    request = {"tool_name": "calculator", "arguments": ARGUMENTS, "id": "call_1"}
    meta = {
        "model": "gpt-4o-mini-2024-07-18",
        "finish_reason": "tool_calls",
        "usage": {"prompt_tokens": 101, "completion_tokens": 11},
    }
    reply = {"role": "assistant", "meta": meta, "name": None, "content": [{"tool_call": request}]}
    llm, step = "haystack.agent.step.llm", "haystack.agent.step.tool"
    failure = "Failed to invoke Tool `calculator` with parameters {'expression': '12*7'}. Error: out of paper"
    spans = [
        span("haystack.agent.run", end=9),
        span(
            llm,
            parent="haystack.agent.run",
            attributes={
                llm + ".input": dump({"messages": [asked], "tools": [tool]}),
                llm + ".output": dump({"replies": [reply]}),
            },
        ),
        span(
            step,
            parent="haystack.agent.run",
            start=2,
            attributes={
                "haystack.tool.name": "calculator",
                step + ".input": dump(ARGUMENTS),
                step + ".output": dump({"error": failure}),
            },
        ),
    ]

    dataset = run((spans, []))

    (call,) = calls_of(dataset)
    assert (call["tools"], call["input"]) == ([TOOL], [{"role": "user", "text": QUESTION}])
    assert call["output"][0]["tool_calls"] == [REQUEST]
    assert (call["model_returned"], call["usage"]["input_tokens"]) == ("gpt-4o-mini-2024-07-18", 101)
    (execution,) = tools_of(dataset)
    assert (execution["arguments"], execution["result"], execution["error"]) == (ARGUMENTS, None, "out of paper")
