"""Dialects without recordings, from hand-made spans: the same conversation comes out the same, whoever wrote it.

The conversation: a system text, a question, a tool call, its result, an answer.
"""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.conversation import (
    ANSWER,
    ARGUMENTS,
    ASKED,
    QUESTION,
    REQUEST,
    SCHEMA,
    SYSTEM,
    TOOL,
    TURNS,
    Conversation,
    dump,
    event,
    openai_messages,
    openai_tool,
    run,
)
from tests.spans import identifier, span


def pydantic_ai_v1() -> Conversation:
    """Build events inside one attribute."""

    def events(*, answered: bool) -> str:
        found: list[dict[str, Any]] = [
            {"event.name": "gen_ai.system.message", "role": "system", "content": SYSTEM, "gen_ai.message.index": 0},
            {"event.name": "gen_ai.user.message", "role": "user", "content": QUESTION, "gen_ai.message.index": 0},
        ]
        message = openai_messages(answered=True)[2]
        if answered:
            found.append({"event.name": "gen_ai.assistant.message", "gen_ai.message.index": 1, **message})
            found.append(
                {"event.name": "gen_ai.tool.message", "content": "84", "id": "call_1", "gen_ai.message.index": 2}
            )
            message = {"role": "assistant", "content": ANSWER}
        return dump([*found, {"event.name": "gen_ai.choice", "index": 0, "message": message}])

    request = {"function_tools": [{"name": "calculator", "description": "Evaluate.", "parameters_json_schema": SCHEMA}]}
    common = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "gpt-4o-mini",
        "model_request_parameters": dump(request),
    }
    tool = {
        "gen_ai.tool.name": "calculator",
        "gen_ai.tool.call.id": "call_1",
        "tool_arguments": dump(ARGUMENTS),
        "tool_response": "84",
    }
    scope = "pydantic-ai"
    return [
        span("agent run", scope=scope, attributes={"agent_name": "MathAgent", "final_result": ANSWER}, end=9),
        span("c1", parent="agent run", scope=scope, attributes={**common, "events": events(answered=False)}, start=1),
        span("running tools", parent="agent run", scope=scope, start=3, end=4),
        span("running tool", parent="running tools", scope=scope, attributes=tool, start=3, end=4),
        span("c2", parent="agent run", scope=scope, attributes={**common, "events": events(answered=True)}, start=5),
    ], []


def pydantic_ai_v2() -> Conversation:
    """Build parts in attributes; instructions apart, arguments as text."""
    call = {"type": "tool_call", "id": "call_1", "name": "calculator", "arguments": dump(ARGUMENTS)}
    asked: list[dict[str, Any]] = [{"role": "user", "parts": [{"type": "text", "content": QUESTION}]}]
    result = {"type": "tool_call_response", "id": "call_1", "name": "calculator", "result": "84"}
    turns = [*asked, {"role": "assistant", "parts": [call]}, {"role": "user", "parts": [result]}]
    first = [{"role": "assistant", "parts": [call], "finish_reason": "tool_call"}]
    second = [{"role": "assistant", "parts": [{"type": "text", "content": ANSWER}], "finish_reason": "stop"}]
    common = {
        "gen_ai.operation.name": "chat",
        "gen_ai.system": "openai",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.system_instructions": dump([{"type": "text", "content": SYSTEM}]),
        "model_request_parameters": dump({"function_tools": [{**TOOL, "parameters_json_schema": SCHEMA}]}),
        "gen_ai.usage.details.reasoning_tokens": 2,
        "gen_ai.usage.input_tokens": 10,
    }
    agent = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "MathAgent", "gen_ai.usage.input_tokens": 99}
    tool = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "calculator",
        "gen_ai.tool.call.id": "call_1",
        "gen_ai.tool.call.arguments": dump(ARGUMENTS),
        "gen_ai.tool.call.result": "84",
    }
    one = {"gen_ai.input.messages": dump(asked), "gen_ai.output.messages": dump(first)}
    two = {"gen_ai.input.messages": dump(turns), "gen_ai.output.messages": dump(second)}
    scope = "pydantic-ai"
    return [
        span("invoke_agent", scope=scope, attributes=agent, end=9),
        span("c1", parent="invoke_agent", scope=scope, attributes={**common, **one}, start=1),
        span("tool", parent="invoke_agent", scope=scope, attributes=tool, start=3),
        span("c2", parent="invoke_agent", scope=scope, attributes={**common, **two}, start=5),
    ], []


def strands() -> Conversation:
    """Build Bedrock's blocks in span events; the system text on the agent's span."""
    use = {"toolUse": {"toolUseId": "call_1", "name": "calculator", "input": ARGUMENTS}}
    result = {"toolResult": {"toolUseId": "call_1", "status": "success", "content": [{"text": "84"}]}}
    asked = event("gen_ai.user.message", content=dump([{"text": QUESTION}]))
    turns = [
        asked,
        event("gen_ai.assistant.message", content=dump([use])),
        event("gen_ai.tool.message", content=dump([result])),
    ]
    common = {
        "gen_ai.operation.name": "chat",
        "gen_ai.system": "strands-agents",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.usage.prompt_tokens": 10,
        "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 3,
    }
    agent = {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.system": "strands-agents",
        "gen_ai.agent.name": "MathAgent",
        "system_prompt": SYSTEM,
        "gen_ai.agent.tools": dump(["calculator"]),
        "gen_ai.usage.input_tokens": 99,
    }
    tool = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "calculator",
        "gen_ai.tool.call.id": "call_1",
        "gen_ai.tool.status": "success",
        "gen_ai.tool.description": "Evaluate.",
        "gen_ai.tool.json_schema": dump(SCHEMA),
    }
    tool_events = [
        event("gen_ai.tool.message", role="tool", content=dump(ARGUMENTS), id="call_1"),
        event("gen_ai.choice", message=dump([{"text": "84"}]), id="call_1"),
    ]
    first = [asked, event("gen_ai.choice", message=dump([use]), finish_reason="tool_use")]
    second = [*turns, event("gen_ai.choice", message=dump([{"text": ANSWER}]), finish_reason="end_turn")]
    scope = "strands.telemetry.tracer"
    cycle = {"gen_ai.system": "strands-agents"}
    return [
        span("invoke_agent", scope=scope, attributes=agent, end=9),
        span("cycle", parent="invoke_agent", scope=scope, attributes=cycle, events=second, end=9),
        span("c1", parent="cycle", scope=scope, attributes=common, events=first, start=1),
        span("tool", parent="cycle", scope=scope, attributes=tool, events=tool_events, start=3),
        span("c2", parent="cycle", scope=scope, attributes=common, events=second, start=5),
    ], []


def strands_latest() -> Conversation:
    """Build several details events a span, each with a part of the call."""
    details = "gen_ai.client.inference.operation.details"
    call = {"type": "tool_call", "id": "call_1", "name": "calculator", "arguments": ARGUMENTS}
    result = {"type": "tool_call_response", "id": "call_1", "response": [{"text": "84"}]}
    asked: list[dict[str, Any]] = [{"role": "user", "parts": [{"type": "text", "content": QUESTION}]}]
    turns = [*asked, {"role": "assistant", "parts": [call]}, {"role": "tool", "parts": [result]}]

    def events(messages: list[dict[str, Any]], part: dict[str, Any], reason: str) -> list[dict[str, Any]]:
        answer = [{"role": "assistant", "parts": [part], "finish_reason": reason}]
        return [
            event(details, **{"gen_ai.system_instructions": dump([{"type": "text", "content": SYSTEM}])}),
            event(details, **{"gen_ai.input.messages": dump(messages)}),
            event(details, **{"gen_ai.output.messages": dump(answer)}),
        ]

    common = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "strands-agents",
        "gen_ai.request.model": "gpt-4o-mini",
    }
    agent = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "MathAgent"}
    tool = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "calculator",
        "gen_ai.tool.call.id": "call_1",
        "gen_ai.tool.json_schema": dump(SCHEMA),
        "gen_ai.tool.description": "Evaluate.",
    }
    tool_events = [
        event(details, **{"gen_ai.input.messages": dump([{"role": "tool", "parts": [call]}])}),
        event(details, **{"gen_ai.output.messages": dump([{"role": "tool", "parts": [result]}])}),
    ]
    scope = "strands.telemetry.tracer"
    text = {"type": "text", "content": ANSWER}
    return [
        span("invoke_agent", scope=scope, attributes=agent, end=9),
        span("c1", parent="invoke_agent", scope=scope, attributes=common, events=events(asked, call, "tool_use")),
        span("tool", parent="invoke_agent", scope=scope, attributes=tool, events=tool_events, start=3),
        span(
            "c2",
            parent="invoke_agent",
            scope=scope,
            attributes=common,
            events=events(turns, text, "end_turn"),
            start=5,
        ),
    ], []


def adk_v1() -> Conversation:
    """Build Gemini's request and response as JSON; the tool below the call that asked for it."""
    prefix = "gcp.vertex.agent."
    call = {"function_call": {"id": "call_1", "name": "calculator", "args": ARGUMENTS}}
    result = {"function_response": {"id": "call_1", "name": "calculator", "response": {"result": "84"}}}
    contents: list[dict[str, Any]] = [{"role": "user", "parts": [{"text": QUESTION}]}]
    turns = [*contents, {"role": "model", "parts": [call]}, {"role": "user", "parts": [result]}]
    upper = {**SCHEMA, "type": "OBJECT", "properties": {"expression": {"type": "STRING"}}}
    config = {"system_instruction": SYSTEM, "tools": [{"function_declarations": [{**TOOL, "parameters": upper}]}]}

    def attributes(asked: list[dict[str, Any]], part: dict[str, Any]) -> dict[str, Any]:
        response = {"content": {"role": "model", "parts": [part]}, "usage_metadata": {"prompt_token_count": 10}}
        return {
            "gen_ai.system": "gcp.vertex.agent",
            prefix + "llm_request": dump({"model": "openai/gpt-4o-mini", "config": config, "contents": asked}),
            prefix + "llm_response": dump(response),
            prefix + "session_id": "session-1",
        }

    tool = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "calculator",
        "gen_ai.tool.call.id": "call_1",
        prefix + "llm_request": "{}",
        prefix + "llm_response": "{}",
        prefix + "tool_call_args": dump(ARGUMENTS),
        prefix + "tool_response": dump({"result": "84"}),
    }
    scope = "gcp.vertex.agent"
    return [
        span("invocation", scope=scope, end=9),
        span("agent_run [MathAgent]", parent="invocation", scope=scope, end=9),
        span("call_llm", parent="agent_run [MathAgent]", scope=scope, attributes=attributes(contents, call), end=4),
        span("execute_tool calculator", parent="call_llm", scope=scope, attributes=tool, start=2, end=3),
        {
            **span(
                "c2",
                parent="agent_run [MathAgent]",
                scope=scope,
                attributes=attributes(turns, {"text": ANSWER}),
                start=5,
            ),
            "name": "call_llm",
        },
    ], []


def vercel_v4() -> Conversation:
    """Build the AI SDK's fourth version: `args` and `result`."""
    return _vercel("args", "parameters", {"result": "84"})


def vercel_v5() -> Conversation:
    """Build the AI SDK's fifth version: `input` and boxed outputs."""
    return _vercel("input", "inputSchema", {"output": {"type": "text", "value": "84"}})


def _vercel(arguments: str, schema: str, result: dict[str, Any]) -> Conversation:
    system = {"role": "system", "content": SYSTEM}
    user = {"role": "user", "content": [{"type": "text", "text": QUESTION}]}
    part = {"type": "tool-call", "toolCallId": "call_1", "toolName": "calculator", arguments: ARGUMENTS}
    done = {"type": "tool-result", "toolCallId": "call_1", "toolName": "calculator", **result}
    turns = [system, user, {"role": "assistant", "content": [part]}, {"role": "tool", "content": [done]}]
    tool_calls = [{"toolCallId": "call_1", "toolName": "calculator", arguments: dump(ARGUMENTS)}]
    tool = dump({"type": "function", "name": "calculator", "description": "Evaluate.", schema: SCHEMA})
    common = {
        "operation.name": "ai.generateText.doGenerate math",
        "ai.operationId": "ai.generateText.doGenerate",
        "ai.telemetry.functionId": "MathAgent",
        "ai.telemetry.metadata.sessionId": "session-1",
        "ai.model.id": "gpt-4o-mini",
        "ai.model.provider": "openai.chat",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.response.id": "chatcmpl-1",
        "ai.prompt.tools": [tool],
        "ai.usage.promptTokens": 10,
    }
    run = {
        "ai.operationId": "ai.generateText",
        "ai.telemetry.functionId": "MathAgent",
        "ai.prompt": QUESTION,
        "ai.response.text": ANSWER,
        "ai.usage.promptTokens": 99,
    }
    one = {
        "ai.prompt.messages": dump([system, user]),
        "ai.response.toolCalls": dump(tool_calls),
        "ai.response.finishReason": "tool-calls",
    }
    two = {
        "ai.prompt.messages": dump(turns),
        "ai.response.text": ANSWER,
        "ai.response.finishReason": "stop",
        "gen_ai.response.id": "chatcmpl-2",
    }
    executed = {
        "ai.operationId": "ai.toolCall",
        "ai.toolCall.name": "calculator",
        "ai.toolCall.id": "call_1",
        "ai.toolCall.args": dump(ARGUMENTS),
        "ai.toolCall.result": dump("84"),
    }
    return [
        span("ai.generateText", scope="ai", attributes=run, end=9),
        span("c1", parent="ai.generateText", scope="ai", attributes={**common, **one}, start=1),
        span("ai.toolCall", parent="ai.generateText", scope="ai", attributes=executed, start=3),
        span("c2", parent="ai.generateText", scope="ai", attributes={**common, **two}, start=5),
    ], []


def langsmith() -> Conversation:
    """Build LangChain's objects, whole."""

    def message(kind: str, **kwargs: Any) -> dict[str, Any]:
        return {"lc": 1, "type": "constructor", "id": ["langchain", "schema", "messages", kind], "kwargs": kwargs}

    call = {"name": "calculator", "args": ARGUMENTS, "id": "call_1", "type": "tool_call"}
    asked = [message("SystemMessage", content=SYSTEM), message("HumanMessage", content=QUESTION)]
    turns = [
        *asked,
        message("AIMessage", content="", tool_calls=[call]),
        message("ToolMessage", content="84", tool_call_id="call_1"),
    ]

    def completion(answer: dict[str, Any], identifier: str, reason: str) -> str:
        metadata = {"id": identifier, "model_name": "gpt-4o-mini-2024-07-18", "finish_reason": reason}
        kwargs = {**answer, "response_metadata": metadata, "usage_metadata": {"input_tokens": 10, "output_tokens": 3}}
        return dump({"generations": [[{"message": message("AIMessage", **kwargs)}]]})

    common = {
        "langsmith.span.kind": "llm",
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.tool.definitions": dump([openai_tool()]),
        "langsmith.metadata.lc_agent_name": "MathAgent",
        "langsmith.metadata.thread_id": "session-1",
    }
    one = {
        "gen_ai.prompt": dump({"messages": [asked]}),
        "gen_ai.completion": completion({"content": "", "tool_calls": [call]}, "chatcmpl-1", "tool_calls"),
    }
    two = {
        "gen_ai.prompt": dump({"messages": [turns]}),
        "gen_ai.completion": completion({"content": ANSWER}, "chatcmpl-2", "stop"),
    }
    tool = {
        "langsmith.span.kind": "tool",
        "gen_ai.operation.name": "tool",
        "gen_ai.prompt": dump({"input": "{'expression': '12*7'}"}),
        "gen_ai.completion": dump({"output": message("ToolMessage", content="84", tool_call_id="call_1")}),
    }
    return [
        span("LangGraph", scope="langsmith", attributes={"langsmith.span.kind": "chain"}, end=9),
        span("c1", parent="LangGraph", scope="langsmith", attributes={**common, **one}, start=1),
        span("calculator", parent="LangGraph", scope="langsmith", attributes=tool, start=3),
        span("c2", parent="LangGraph", scope="langsmith", attributes={**common, **two}, start=5),
    ], []


def langfuse() -> Conversation:
    """Build observations; the wrapper's made-up defaults are no parameters."""
    prefix = "langfuse.observation."
    parameters = {"temperature": 0.2, "max_tokens": "Infinity", "top_p": 1, "frequency_penalty": 0}
    common = {
        prefix + "type": "generation",
        prefix + "model.name": "gpt-4o-mini-2024-07-18",
        prefix + "model.parameters": dump(parameters),
        prefix + "usage_details": dump({"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13}),
        "session.id": "session-1",
    }
    one = {
        prefix + "input": dump({"tools": [openai_tool()], "messages": openai_messages(answered=False)}),
        prefix + "output": dump(openai_messages(answered=True)[2]),
    }
    two = {
        prefix + "input": dump({"tools": [openai_tool()], "messages": openai_messages(answered=True)}),
        prefix + "output": dump({"role": "assistant", "content": ANSWER}),
    }
    tool = {prefix + "type": "tool", prefix + "input": dump(ARGUMENTS), prefix + "output": "84"}
    scope = "langfuse-sdk"
    return [
        span("MathAgent", scope=scope, attributes={prefix + "type": "agent"}, end=9),
        span("c1", parent="MathAgent", scope=scope, attributes={**common, **one}, start=1),
        span("calculator", parent="MathAgent", scope=scope, attributes=tool, start=3),
        span("c2", parent="MathAgent", scope=scope, attributes={**common, **two}, start=5),
    ], []


def haystack() -> Conversation:
    """Build components with content tracing on, under the program's own scope."""
    call = {"tool_call": {"tool_name": "calculator", "arguments": ARGUMENTS, "id": "call_1"}}
    origin = {"tool_name": "calculator", "arguments": ARGUMENTS, "id": "call_1"}
    result = {"tool_call_result": {"result": "84", "origin": origin, "error": False}}
    asked = [
        {"role": "system", "content": [{"text": SYSTEM}], "meta": {}},
        {"role": "user", "content": [{"text": QUESTION}], "meta": {}},
    ]
    done = {"role": "tool", "content": [result], "meta": {}}
    turns = [*asked, {"role": "assistant", "content": [call], "meta": {}}, done]
    tools = [{"type": "haystack.tools.tool.Tool", "data": TOOL}]

    def attributes(messages: list[dict[str, Any]], part: dict[str, Any], reason: str) -> dict[str, Any]:
        meta = {"model": "gpt-4o-mini-2024-07-18", "finish_reason": reason, "usage": {"prompt_tokens": 10}}
        return {
            "haystack.component.name": "llm",
            "haystack.component.type": "OpenAIChatGenerator",
            "haystack.component.input": dump({"messages": messages, "tools": tools}),
            "haystack.component.output": dump({"replies": [{"role": "assistant", "content": [part], "meta": meta}]}),
        }

    agent = {"haystack.component.name": "MathAgent", "haystack.component.type": "Agent"}
    invoker = {
        "haystack.component.type": "ToolInvoker",
        "haystack.component.input": dump({"messages": turns[2:3]}),
        "haystack.component.output": dump({"tool_messages": [done]}),
    }
    text = {"text": ANSWER}
    return [
        span("haystack.component.run", attributes=agent, end=9),
        span("c1", parent="haystack.component.run", attributes=attributes(asked, call, "tool_calls"), start=1),
        span("tool", parent="haystack.component.run", attributes=invoker, start=3),
        span("c2", parent="haystack.component.run", attributes=attributes(turns, text, "stop"), start=5),
        span("haystack.tracing.auto_enable", trace="noise", status="error"),
    ], []


def agents_v2() -> Conversation:
    """Build openai-agents-v2: the tool call as a repr in a text part, the true agent on the span above."""
    text = f"ResponseFunctionToolCall(arguments={dump(ARGUMENTS)!r}, call_id='call_1', name='calculator', id='fc_1')"
    asked = [
        {"role": "system", "parts": [{"type": "text", "content": SYSTEM}]},
        {"role": "user", "parts": [{"type": "text", "content": QUESTION}]},
    ]
    call = {"type": "tool_call", "id": "call_1", "name": "calculator", "arguments": dump(ARGUMENTS)}
    result = {"type": "tool_call_response", "id": "call_1", "result": "84"}
    turns = [*asked, {"role": "assistant", "parts": [call]}, {"role": "tool", "parts": [result]}]

    def attributes(messages: list[dict[str, Any]], content: str, reason: str) -> dict[str, Any]:
        answer = {"role": "assistant", "parts": [{"type": "text", "content": content}], "finish_reason": reason}
        return {
            "gen_ai.operation.name": "chat",
            "gen_ai.agent.name": "OpenAI Agent",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": "gpt-4o-mini",
            "gen_ai.input.messages": dump(messages),
            "gen_ai.output.messages": dump([answer]),
            "gen_ai.tool.definitions": dump([openai_tool()]),
        }

    scope = "opentelemetry.instrumentation.openai_agents"
    agent = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "MathAgent"}
    tool = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "calculator",
        "gen_ai.tool.call.arguments": dump(ARGUMENTS),
        "gen_ai.tool.call.result": "84",
    }
    return [
        span("invoke_agent", scope=scope, attributes=agent, end=9),
        span("unknown", parent="invoke_agent", scope=scope, attributes={"gen_ai.operation.name": "unknown"}, end=9),
        span("c1", parent="unknown", scope=scope, attributes=attributes(asked, text, "tool_calls"), start=1),
        span("tool", parent="unknown", scope=scope, attributes=tool, start=3),
        span("c2", parent="unknown", scope=scope, attributes=attributes(turns, ANSWER, "stop"), start=5),
    ], []


def old_conventions() -> Conversation:
    """Build the conventions up to 1.27: prompt and completion as span events."""
    common = {"gen_ai.operation.name": "chat", "gen_ai.system": "openai", "gen_ai.request.model": "gpt-4o-mini"}

    def events(*, answered: bool) -> list[dict[str, Any]]:
        answer = {"role": "assistant", "content": ANSWER} if answered else openai_messages(answered=True)[2]
        return [
            event("gen_ai.content.prompt", **{"gen_ai.prompt": dump(openai_messages(answered=answered))}),
            event("gen_ai.content.completion", **{"gen_ai.completion": dump([answer])}),
        ]

    one = {**common, "gen_ai.response.finish_reasons": ["tool_calls"]}
    two = {**common, "gen_ai.response.finish_reasons": ["stop"]}
    root = span("MathAgent", attributes={"gen_ai.agent.name": "MathAgent"}, end=9)
    return [
        root,
        span("c1", parent="MathAgent", attributes=one, events=events(answered=False), start=1),
        span("c2", parent="MathAgent", attributes=two, events=events(answered=True), start=5),
    ], []


MAKERS: tuple[Callable[[], Conversation], ...] = (
    pydantic_ai_v1,
    pydantic_ai_v2,
    strands,
    strands_latest,
    adk_v1,
    vercel_v4,
    vercel_v5,
    langsmith,
    langfuse,
    haystack,
    agents_v2,
    old_conventions,
)
WITHOUT_TOOLS = {strands, strands_latest, old_conventions}
"""They do not say on the call which tools were offered."""

WITHOUT_REASON = {pydantic_ai_v1, adk_v1, langfuse}
WRAPPED = {adk_v1}
"""ADK sends a tool's result on as an object."""


@pytest.mark.parametrize("make", MAKERS, ids=[make.__name__ for make in MAKERS])
def test_the_conversation_is_the_same_whoever_wrote_it(make: Callable[[], Conversation]) -> None:
    """Two calls, with what was asked and answered, by the agent that made them; sums on agent spans are not theirs."""
    calls = run(make()).tables["llm_calls"].to_dicts()

    assert [call["agent"] for call in calls] == ["MathAgent"] * 2
    inputs = [json.loads(call["input"]) for call in calls]
    if make in WRAPPED:
        assert inputs[1][3].pop("text") == '{"result": "84"}'
        inputs[1][3]["text"] = "84"
    assert inputs == [ASKED, TURNS]
    outputs = [json.loads(call["output"])[0] for call in calls]
    assert [output["tool_calls"] for output in outputs] == [[REQUEST], []]
    assert [output["text"] for output in outputs] == [None, ANSWER]
    if make not in WITHOUT_REASON:
        assert [output["finish_reason"] for output in outputs] == ["tool_calls", "stop"]
    assert {call["model_requested"] for call in calls} == {"gpt-4o-mini"}
    if make not in WITHOUT_TOOLS:
        assert [json.loads(call["tools"]) for call in calls] == [[TOOL]] * 2
    usages = [json.loads(call["usage"]) for call in calls if call["usage"]]
    assert all(usage["input_tokens"] == 10 for usage in usages)


@pytest.mark.parametrize("make", MAKERS, ids=[make.__name__ for make in MAKERS])
def test_the_tool_ran_once_and_its_cause_is_known(make: Callable[[], Conversation]) -> None:
    """One execution, with arguments and result, caused by the first call."""
    tools = run(make()).tables["tool_calls"].to_dicts()

    assert [(tool["name"], json.loads(tool["arguments"]), tool["result"]) for tool in tools] == [
        ("calculator", ARGUMENTS, "84")
    ]
    assert tools[0]["caused_by_span_id"] == identifier("call_llm" if make is adk_v1 else "c1", 16)


def test_autogen_tells_of_tools_in_its_messages() -> None:
    """Its tool spans have names and ids; arguments and results are in what the runtime passes on."""
    request = {"type": "ToolCallRequestEvent", "content": [{"id": "call_1", "name": "calculator", "arguments": "{}"}]}
    done = {"content": [{"content": "84", "name": "calculator", "call_id": "call_1", "is_error": False}]}
    fields = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "calculator",
        "gen_ai.tool.call.id": "call_1",
    }
    runtime = "autogen SingleThreadedAgentRuntime"
    spans = [
        span("root", end=9),
        span("a", parent="root", scope=runtime, attributes={"message": dump({"message": request})}),
        span("tool", parent="root", scope="autogen-core", attributes=fields, start=3),
        span("b", parent="root", scope=runtime, attributes={"message": dump({"message": done})}, start=5),
    ]

    tools = run((spans, [])).tables["tool_calls"].to_dicts()

    assert [(tool["name"], tool["arguments"], tool["result"]) for tool in tools] == [("calculator", "{}", "84")]


def test_the_anthropic_clients_own_span_adds_to_the_call() -> None:
    """It stands beside the instrumentation's span of the same response id."""
    fields = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "claude-x", "gen_ai.response.id": "msg_1"}
    content = {
        "gen_ai.input.messages": dump([{"role": "user", "parts": [{"type": "text", "content": "hi"}]}]),
        "gen_ai.output.messages": dump([{"role": "assistant", "parts": [{"type": "text", "content": "ho"}]}]),
    }
    spans = [
        span("chat", attributes={**fields, **content}, scope="opentelemetry.instrumentation.genai.anthropic"),
        {
            **span("own", attributes={**fields, "gen_ai.usage.input_tokens": 4}, scope="com.anthropic.sdk.python"),
            "name": "anthropic.messages.create",
        },
    ]

    calls = run((spans, [])).tables["llm_calls"].to_dicts()

    assert len(calls) == 1
    assert json.loads(calls[0]["usage"])["input_tokens"] == 4
    assert calls[0]["api"] == "messages"


def test_llama_indexs_wrappers_are_no_calls() -> None:
    """The same name three times: preparation, wrapper, and the one that holds the answer."""
    scope = "openinference.instrumentation.llama_index"
    kind = {"openinference.span.kind": "LLM", "llm.model_name": "gpt-4o-mini"}
    asked = {"llm.input_messages.0.message.role": "user", "llm.input_messages.0.message.content": "hi"}
    said = {"llm.output_messages.0.message.role": "assistant", "llm.output_messages.0.message.content": "ho"}
    blocks = {"input.value": dump({"messages": ["ChatMessage(role=<MessageRole.USER: 'user'>)"]})}
    spans = [
        span("OpenAI._prepare_chat_with_tools", scope=scope, attributes=kind),
        span("OpenAI.achat", scope=scope, attributes={**kind, **asked, **blocks}, start=1, end=5),
        {
            **span(
                "inner", parent="OpenAI.achat", scope=scope, attributes={**kind, **asked, **said, **blocks}, start=2
            ),
            "name": "OpenAI.achat",
        },
    ]

    calls = run((spans, [])).tables["llm_calls"].to_dicts()

    assert [json.loads(call["input"]) for call in calls] == [[{"role": "user", "text": "hi"}]]
    assert [json.loads(call["output"])[0]["text"] for call in calls] == ["ho"]
