"""Older, newer and rarer forms of the dialects, from hand-made spans: the same conversation comes out the same."""

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
from tests.spans import START_NS, identifier, span

MODEL = {"gen_ai.operation.name": "chat", "gen_ai.system": "openai", "gen_ai.request.model": "gpt-4o-mini"}
EXECUTION = {
    "gen_ai.operation.name": "execute_tool",
    "gen_ai.tool.name": "calculator",
    "gen_ai.tool.call.id": "call_1",
    "gen_ai.tool.call.arguments": dump(ARGUMENTS),
    "gen_ai.tool.call.result": "84",
}


def record(span_name: str, name: str, body: Any, attributes: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return a log record of a span."""
    return {
        "project": "default",
        "trace_id": identifier("t", 32),
        "span_id": identifier(span_name, 16),
        "event_name": name,
        "time_ns": START_NS,
        "observed_ns": START_NS,
        "body": dump(body),
        "attributes": dump(attributes or {}),
        "received_seq": 1,
        "record_index": 0,
    }


def parts(*, answered: bool, result: str = "84") -> list[dict[str, Any]]:
    """Return what was asked in the conventions' parts, the system text first."""
    head = [
        {"role": "system", "parts": [{"type": "text", "content": SYSTEM}]},
        {"role": "user", "parts": [{"type": "text", "content": QUESTION}]},
    ]
    tail = [
        {"role": "assistant", "parts": [{"type": "tool_call", **REQUEST}]},
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "call_1", "response": result}]},
    ]
    return [*head, *tail] if answered else head


def said(*, answered: bool, reason: str | None = None) -> list[dict[str, Any]]:
    """Return an answer in the conventions' parts."""
    part = {"type": "text", "content": ANSWER} if answered else {"type": "tool_call", **REQUEST}
    reason = reason or ("stop" if answered else "tool_calls")
    return [{"role": "assistant", "parts": [part], "finish_reason": reason}]


def pydantic_ai_logs() -> Conversation:
    """Build version 1 with `event_mode=logs`: one record a message, numbered by an attribute of its body."""
    names = ("gen_ai.system.message", "gen_ai.user.message", "gen_ai.assistant.message", "gen_ai.tool.message")

    def records(name: str, *, answered: bool) -> list[dict[str, Any]]:
        turns = openai_messages(answered=answered)
        found = []
        for index, (event_name, message) in enumerate(zip(names, turns, strict=False)):
            body = {**message, "gen_ai.message.index": index}
            if "tool_call_id" in body:
                body["id"] = body.pop("tool_call_id")
            found.append(record(name, event_name, body))
        answer = {"role": "assistant", "content": ANSWER} if answered else openai_messages(answered=True)[2]
        return [record(name, "gen_ai.choice", {"index": 0, "message": answer}), *reversed(found)]

    definition = {"name": "calculator", "description": "Evaluate.", "parameters_json_schema": SCHEMA}
    fields = {**MODEL, "model_request_parameters": dump({"function_tools": [definition]})}
    tool = {
        "gen_ai.tool.name": "calculator",
        "gen_ai.tool.call.id": "call_1",
        "tool_arguments": dump(ARGUMENTS),
        "tool_response": "84",
    }
    scope = "pydantic-ai"
    spans = [
        span("agent run", scope=scope, attributes={"agent_name": "MathAgent", "final_result": ANSWER}, end=9),
        span("c1", parent="agent run", scope=scope, attributes=fields, start=1),
        span("running tool", parent="agent run", scope=scope, attributes=tool, start=3, end=4),
        span("c2", parent="agent run", scope=scope, attributes=fields, start=5),
    ]
    return spans, [*records("c2", answered=True), *records("c1", answered=False)]


def adk_v2() -> Conversation:
    """Build parts on spans, models with LiteLLM's prefix, Gemini's finish reason, a result of a user in an object."""
    turns = parts(answered=True, result="84")
    turns[3] = {
        "role": "user",
        "parts": [{"type": "tool_call_response", "id": "call_1", "response": {"result": "84"}}],
    }
    fields = {**MODEL, "gen_ai.operation.name": "generate_content", "gen_ai.request.model": "openai/gpt-4o-mini"}
    tools = dump([{"type": "function", **TOOL}])
    one = {
        **fields,
        "gen_ai.input.messages": dump(parts(answered=False)),
        "gen_ai.output.messages": dump(said(answered=False, reason="stop")),
        "gen_ai.tool.definitions": tools,
    }
    two = {
        **fields,
        "gen_ai.input.messages": dump(turns),
        "gen_ai.output.messages": dump(said(answered=True)),
        "gen_ai.tool.definitions": tools,
    }
    agent = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "MathAgent"}
    scope = "gcp.vertex.agent"
    return [
        span("invoke_workflow", scope=scope, attributes={"gen_ai.operation.name": "invoke_workflow"}, end=9),
        span("invoke_agent", parent="invoke_workflow", scope=scope, attributes=agent, end=9),
        span("c1", parent="invoke_agent", scope=scope, attributes=one, start=1),
        span(
            "tool",
            parent="invoke_agent",
            scope=scope,
            attributes={**EXECUTION, "gen_ai.tool.call.result": dump({"result": "84"})},
            start=3,
        ),
        span("c2", parent="invoke_agent", scope=scope, attributes=two, start=5),
    ], []


def strands_old() -> Conversation:
    """Build version 0.2: other names, tool results as the user's, the system text on the agent alone."""
    use = [{"toolUse": {"toolUseId": "call_1", "name": "calculator", "input": ARGUMENTS}}]
    result = [{"toolResult": {"toolUseId": "call_1", "status": "success", "content": [{"text": "84"}]}}]
    asked = [event("gen_ai.user.message", content=dump([{"text": QUESTION}]))]
    turns = [
        *asked,
        event("gen_ai.assistant.message", content=dump(use)),
        event("gen_ai.user.message", content=dump(result)),
    ]
    one = [*asked, event("gen_ai.choice", message=dump(use), finish_reason="tool_use")]
    two = [*turns, event("gen_ai.choice", message=dump([{"text": ANSWER}]), finish_reason="end_turn")]
    ran = [
        event("gen_ai.tool.message", content=dump(ARGUMENTS), id="call_1"),
        event("gen_ai.choice", message=dump([{"text": "84"}])),
    ]
    scope = "strands.telemetry.tracer"
    model = {"gen_ai.system": "strands-agents", "gen_ai.request.model": "gpt-4o-mini"}
    agent = {"gen_ai.agent.name": "MathAgent", "system_prompt": SYSTEM, "gen_ai.system": "strands-agents"}
    tool = {"tool.name": "calculator", "tool.id": "call_1", "tool.status": "success"}

    def named(name: str, shown: str, **rest: Any) -> dict[str, Any]:
        return {**span(name, scope=scope, **rest), "name": shown}

    return [
        named("agent", "MathAgent", attributes=agent, end=9),
        named("cycle", "Cycle 0b1d", parent="agent", end=9, events=one),
        named("c1", "Model invoke", parent="cycle", attributes=model, events=one, start=1),
        named("tool", "Tool: calculator", parent="cycle", attributes=tool, events=ran, start=3),
        named("c2", "Model invoke", parent="cycle", attributes=model, events=two, start=5),
    ], []


def traceloop_function_call() -> Conversation:
    """Build the oldest indexed form: the answer's tool call under `function_call`, without an id."""
    call = {"gen_ai.prompt.2.tool_calls.0.id": "call_1", "gen_ai.prompt.2.tool_calls.0.name": "calculator"}
    asked = {
        "llm.request.type": "chat",
        "gen_ai.system": "OpenAI",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.prompt.0.role": "system",
        "gen_ai.prompt.0.content": SYSTEM,
        "gen_ai.prompt.1.role": "user",
        "gen_ai.prompt.1.content": QUESTION,
        "llm.request.functions.0.name": "calculator",
        "llm.request.functions.0.description": "Evaluate.",
        "llm.request.functions.0.parameters": dump(SCHEMA),
    }
    one = {
        **asked,
        "gen_ai.completion.0.role": "assistant",
        "gen_ai.completion.0.finish_reason": "tool_calls",
        "gen_ai.completion.0.function_call.name": "calculator",
        "gen_ai.completion.0.function_call.arguments": dump(ARGUMENTS),
    }
    two = {
        **asked,
        "gen_ai.prompt.2.role": "assistant",
        **call,
        "gen_ai.prompt.2.tool_calls.0.arguments": dump(ARGUMENTS),
        "gen_ai.prompt.3.role": "tool",
        "gen_ai.prompt.3.tool_call_id": "call_1",
        "gen_ai.prompt.3.content": "84",
        "gen_ai.completion.0.role": "assistant",
        "gen_ai.completion.0.content": ANSWER,
        "gen_ai.completion.0.finish_reason": "stop",
    }
    workflow = {"traceloop.span.kind": "agent", "traceloop.entity.name": "MathAgent"}
    tool = {
        "traceloop.span.kind": "tool",
        "traceloop.entity.name": "calculator",
        "traceloop.entity.input": dump({"inputs": ARGUMENTS}),
        "traceloop.entity.output": dump({"output": "84"}),
    }
    return [
        span("agent", attributes=workflow, end=9),
        span("c1", parent="agent", scope="opentelemetry.instrumentation.openai.v1", attributes=one, start=1),
        span("tool", parent="agent", attributes=tool, start=3),
        span("c2", parent="agent", scope="opentelemetry.instrumentation.openai.v1", attributes=two, start=5),
    ], []


def traceloop_events() -> Conversation:
    """Build its events mode: tool calls beside the choice's message, tool messages without an id."""

    def records(name: str, *, answered: bool) -> list[dict[str, Any]]:
        turns = openai_messages(answered=answered)
        names = ("gen_ai.system.message", "gen_ai.user.message", "gen_ai.assistant.message", "gen_ai.tool.message")
        found = [
            record(name, event_name, {key: value for key, value in turn.items() if key != "tool_call_id"})
            for event_name, turn in zip(names, turns, strict=False)
        ]
        asks = openai_messages(answered=True)[2]["tool_calls"]
        choice: dict[str, Any] = {"index": 0, "finish_reason": "stop", "message": {"content": ANSWER}}
        if not answered:
            choice = {"index": 0, "finish_reason": "tool_calls", "message": {}, "tool_calls": asks}
        return [*found, record(name, "gen_ai.choice", choice)]

    fields = {
        "llm.request.type": "chat",
        "gen_ai.system": "OpenAI",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.tool.definitions": dump([openai_tool()]),
    }
    agent = {"traceloop.span.kind": "agent", "traceloop.entity.name": "MathAgent"}
    spans = [
        span("agent", attributes=agent, end=9),
        span("c1", parent="agent", scope="opentelemetry.instrumentation.openai.v1", attributes=fields, start=1),
        span("tool", parent="agent", attributes=EXECUTION, start=3),
        span("c2", parent="agent", scope="opentelemetry.instrumentation.openai.v1", attributes=fields, start=5),
    ]
    return spans, [*records("c1", answered=False), *records("c2", answered=True)]


def mlflow_genai() -> Conversation:
    """Build MLflow's translation to the conventions: parts, but bare attributes and results encoded once more."""
    fields = {**MODEL, "gen_ai.tool.definitions": dump([openai_tool()]), "temperature": "0.5"}
    one = {
        **fields,
        "gen_ai.input.messages": dump(parts(answered=False)),
        "gen_ai.output.messages": dump(said(answered=False)),
    }
    two = {
        **fields,
        "gen_ai.input.messages": dump(parts(answered=True)),
        "gen_ai.output.messages": dump(said(answered=True)),
    }
    scope = "mlflow.tracing.provider"
    agent = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "MathAgent"}
    tool = {**EXECUTION, "gen_ai.tool.call.result": dump("84")}
    return [
        span("agent", scope=scope, attributes=agent, end=9),
        span("c1", parent="agent", scope=scope, attributes=one, start=1),
        span("tool", parent="agent", scope=scope, attributes=tool, start=3),
        span("c2", parent="agent", scope=scope, attributes=two, start=5),
    ], []


def details_events() -> Conversation:
    """Build form E: content in log events of the call, each field in an event of its own, nothing on the span."""
    tools = {"gen_ai.tool.definitions": [openai_tool()]}
    name = "gen_ai.client.inference.operation.details"
    logs = [
        record("c1", name, None, {"gen_ai.input.messages": parts(answered=False), **tools}),
        record("c1", name, None, {"gen_ai.output.messages": said(answered=False)}),
        record(
            "c2",
            name,
            None,
            {
                "gen_ai.input.messages": parts(answered=True)[1:],
                "gen_ai.system_instructions": [{"type": "text", "content": SYSTEM}],
                **tools,
            },
        ),
        record("c2", name, None, {"gen_ai.output.messages": said(answered=True)}),
    ]
    agent = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "MathAgent"}
    return [
        span("agent", attributes=agent, end=9),
        span("c1", parent="agent", attributes=MODEL, start=1),
        span("tool", parent="agent", attributes=EXECUTION, start=3),
        span("c2", parent="agent", attributes=MODEL, start=5),
    ], logs


def openinference_indexed() -> Conversation:
    """Build form C alone, as versions without `input.value` do, the text in content blocks."""
    model = {
        "openinference.span.kind": "LLM",
        "llm.model_name": "gpt-4o-mini",
        "llm.invocation_parameters": dump({"model": "gpt-4o-mini", "temperature": 0.5}),
        "llm.tools.0.tool.json_schema": dump(openai_tool()),
        "llm.input_messages.0.message.role": "system",
        "llm.input_messages.0.message.content": SYSTEM,
        "llm.input_messages.1.message.role": "user",
        "llm.input_messages.1.message.contents.0.message_content.type": "text",
        "llm.input_messages.1.message.contents.0.message_content.text": QUESTION,
    }
    call = {
        "message.role": "assistant",
        "message.tool_calls.0.tool_call.id": "call_1",
        "message.tool_calls.0.tool_call.function.name": "calculator",
        "message.tool_calls.0.tool_call.function.arguments": dump(ARGUMENTS),
    }
    one = {
        **model,
        **{f"llm.output_messages.0.{key}": value for key, value in call.items()},
        "llm.finish_reason": "tool_calls",
    }
    two = {
        **model,
        **{f"llm.input_messages.2.{key}": value for key, value in call.items()},
        "llm.input_messages.3.message.role": "tool",
        "llm.input_messages.3.message.content": "84",
        "llm.input_messages.3.message.tool_call_id": "call_1",
        "llm.output_messages.0.message.role": "assistant",
        "llm.output_messages.0.message.content": ANSWER,
        "llm.finish_reason": "stop",
    }
    tool = {
        "openinference.span.kind": "TOOL",
        "tool.name": "calculator",
        "tool_call.id": "call_1",
        "input.value": dump(ARGUMENTS),
        "output.value": "84",
    }
    scope = "openinference.instrumentation.something_new"
    return [
        span("MathAgent", scope=scope, attributes={"openinference.span.kind": "AGENT"}, end=9),
        span("c1", parent="MathAgent", scope=scope, attributes=one, start=1),
        span("tool", parent="MathAgent", scope=scope, attributes=tool, start=3),
        span("c2", parent="MathAgent", scope=scope, attributes=two, start=5),
    ], []


MAKERS: tuple[Callable[[], Conversation], ...] = (
    pydantic_ai_logs,
    adk_v2,
    strands_old,
    traceloop_function_call,
    traceloop_events,
    mlflow_genai,
    details_events,
    openinference_indexed,
)
WITHOUT_IDS = {traceloop_function_call}
WITHOUT_REASON = {pydantic_ai_logs}
WITHOUT_TOOLS = {strands_old}
WRAPPED = {adk_v2}


@pytest.mark.parametrize("make", MAKERS, ids=[make.__name__ for make in MAKERS])
def test_the_conversation_is_the_same_in_every_form(make: Callable[[], Conversation]) -> None:
    """Two calls of one agent and one tool call between them, told alike."""
    tables = run(make()).tables
    calls = tables["llm_calls"].sort("start_ns").to_dicts()

    assert [call["agent"] for call in calls] == ["MathAgent"] * 2
    inputs = [json.loads(call["input"]) for call in calls]
    if make in WRAPPED:
        assert json.loads(inputs[1][3]["text"]) == {"result": "84"}
        inputs[1][3]["text"] = "84"
    assert inputs == [ASKED, TURNS]
    outputs = [json.loads(call["output"])[0] for call in calls]
    asked = {**REQUEST, "id": None} if make in WITHOUT_IDS else REQUEST
    assert [output["tool_calls"] for output in outputs] == [[asked], []]
    assert [output["text"] for output in outputs] == [None, ANSWER]
    if make not in WITHOUT_REASON:
        assert [output["finish_reason"] for output in outputs] == ["tool_calls", "stop"]
    assert {call["model_requested"] for call in calls} == {"gpt-4o-mini"}
    if make not in WITHOUT_TOOLS:
        assert [json.loads(call["tools"]) for call in calls] == [[TOOL]] * 2
    (tool,) = tables["tool_calls"].to_dicts()
    assert (tool["name"], json.loads(tool["arguments"]), tool["result"]) == ("calculator", ARGUMENTS, "84")
    assert tool["caused_by_span_id"] == identifier("c1", 16)
    assert tables["transitions"].height == 2


def test_smolagents_says_its_tool_calls_in_text() -> None:
    """On the wire they were texts of assistant and user: they stay texts, in those roles."""
    scope = "openinference.instrumentation.smolagents"
    fields = {
        "openinference.span.kind": "LLM",
        "llm.model_name": "openai/gpt-4o-mini",
        "llm.input_messages.0.message.role": "tool-call",
        "llm.input_messages.0.message.content": "Calling tools:\n[{'id': 'call_1'}]",
        "llm.input_messages.1.message.role": "tool-response",
        "llm.input_messages.1.message.content": "Observation:\n84",
        "llm.output_messages.0.message.role": "assistant",
        "llm.output_messages.0.message.content": ANSWER,
    }
    agent = {"openinference.span.kind": "AGENT", "llm.token_count.prompt": 99}
    spans = [
        {**span("agent", scope=scope, attributes=agent, end=9), "name": "MathAgent.run"},
        span("OpenAIModel.generate", parent="agent", scope=scope, attributes=fields, start=1),
    ]

    (call,) = run((spans, [])).tables["llm_calls"].to_dicts()

    assert [message["role"] for message in json.loads(call["input"])] == ["assistant", "user"]
    assert (call["agent"], call["usage"]) == ("MathAgent", None)
    assert (call["model_requested"], call["model_returned"]) == ("gpt-4o-mini", None)


@pytest.mark.parametrize(
    ("name", "streamed"), [("OpenAIChat.invoke", None), ("OpenAIChat.ainvoke_stream", True), ("OpenAI.stream", True)]
)
def test_a_streaming_method_names_a_stream(name: str, streamed: bool | None) -> None:
    """Where nothing else says whether an answer was streamed, the method does; another method says nothing."""
    fields = {"openinference.span.kind": "LLM", "llm.model_name": "m"}
    said = {"llm.output_messages.0.message.role": "assistant", "llm.output_messages.0.message.content": "ho"}

    (call,) = run(([span(name, attributes={**fields, **said})], [])).tables["llm_calls"].to_dicts()

    assert call["streamed"] is streamed


def test_an_error_is_told_in_the_providers_words() -> None:
    """Frameworks put words of their own around it; status and code may be in the stack trace alone."""
    inner = "{'error': {'message': 'Slow down.', 'type': 'tokens', 'code': 'rate_limit'}}"
    stack = f"Traceback (most recent call last):\n  File x\nopenai.RateLimitError: Error code: 429 - {inner}\n"
    exception = event("exception", **{"exception.message": "Model failed: Slow down.", "exception.stacktrace": stack})
    spans = [span("c", attributes=MODEL, status="error", message="Model failed: Slow down.", events=[exception])]

    (call,) = run((spans, [])).tables["llm_calls"].to_dicts()

    error = json.loads(call["error"])
    assert (error["http_status"], error["code"], error["message"]) == (429, "rate_limit", "Slow down.")


def test_embedding_calls_are_told_apart() -> None:
    """They are model calls, but no policy acts in them: texts in, sizes of vectors out, and no transition."""
    asked = {"openinference.span.kind": "EMBEDDING", "embedding.model_name": "e"}
    entry = {"embedding.embeddings.0.embedding.text": "hi", "embedding.embeddings.0.embedding.vector": [0.5, 0.25]}

    dataset = run(([span("e", attributes={**asked, **entry})], []))

    (call,) = dataset.tables["llm_calls"].to_dicts()
    assert (call["api"], json.loads(call["input"])) == ("embeddings", ["hi"])
    assert json.loads(call["output"]) == [{"embedding_dimensions": 2}]
    assert dataset.tables["rejected"]["reason"].to_list() == ["embedding"]
    assert dataset.counts["spans"]["used"] == {"embedding": 1}


def test_the_empty_answer_is_an_answer() -> None:
    """What nobody wrote down is the empty text where the call's texts are recorded and no token was written.

    One token may be the end, or a text of one token: nothing is trained on that.
    """
    asked = {**MODEL, "gen_ai.input.messages": dump(parts(answered=False)), "gen_ai.response.finish_reasons": ["stop"]}
    spans = [
        span("ended", attributes={**asked, "gen_ai.usage.output_tokens": 0}),
        span("perhaps", attributes={**asked, "gen_ai.usage.output_tokens": 1}, start=1),
        span("lost", attributes={**asked, "gen_ai.usage.output_tokens": 30}, start=2),
    ]

    tables = run((spans, [])).tables

    texts = [json.loads(output)[0]["text"] for output in tables["llm_calls"].sort("start_ns")["output"]]
    assert texts == ["", "", None]
    assert tables["rejected"]["reason"].to_list() == ["no_action", "no_action"]


def test_a_tool_result_in_the_next_trace_is_an_execution() -> None:
    """A bare client makes each call a trace: what ran is told by the second call, once, whatever follows."""
    turns = parts(answered=True)
    later = [*turns, *said(answered=True), {"role": "user", "parts": [{"type": "text", "content": "Thanks."}]}]

    def call(name: str, asked: list[dict[str, Any]], answer: list[dict[str, Any]], start: float) -> dict[str, Any]:
        fields = {**MODEL, "gen_ai.input.messages": dump(asked), "gen_ai.output.messages": dump(answer)}
        return span(name, trace=name, attributes=fields, start=start)

    spans = [
        call("c1", parts(answered=False), said(answered=False), 1),
        call("c2", turns, said(answered=True), 2),
        call("c3", later, said(answered=True), 3),
    ]

    tools = run((spans, [])).tables["tool_calls"].to_dicts()

    assert [(tool["name"], tool["result"], tool["tool_call_id"]) for tool in tools] == [("calculator", "84", "call_1")]
    assert tools[0]["caused_by_span_id"] is None


def test_an_agent_spans_parameters_are_its_calls() -> None:
    """Agent Framework records them on the agent alone; the call's own word wins."""
    agent = {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": "A",
        "gen_ai.request.temperature": 0.2,
        "gen_ai.request.seed": 7,
    }
    spans = [
        span("agent", attributes=agent, end=9),
        span("c", parent="agent", attributes={**MODEL, "gen_ai.request.temperature": 0.5}, start=1),
    ]

    (call,) = run((spans, [])).tables["llm_calls"].to_dicts()

    assert json.loads(call["params"]) == {"seed": 7, "temperature": 0.5}
