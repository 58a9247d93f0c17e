"""llama-index-core 0.14 under openinference-instrumentation-llama-index 4.6: its agents are workflows of steps."""

from typing import Any

import pytest

from etl.exports.export import decoded
from tests.conversation import ANSWER, ARGUMENTS, QUESTION, REQUEST, dump, run
from tests.spans import Span, span

SCOPE = "openinference.instrumentation.llama_index"
ASKED = f"ChatMessage(role=<MessageRole.USER: 'user'>, blocks=[TextBlock(block_type='text', text={QUESTION!r})])"


def step(name: str, event: str, **rest: Any) -> Span:
    """Return the span of a workflow's step, given an event as Python prints one."""
    attributes = {
        "openinference.span.kind": "CHAIN",
        "input.value": dump({"ctx": "<workflows.context.context.Context object at 0x7fcf>", "ev": event}),
    }
    return span(name, parent="FunctionAgent.run", attributes=attributes, scope=SCOPE, **rest)


def agent_run(client: str, event: str, **answer: Any) -> list[Span]:
    """Return an agent's run of one model call, whose span has the message alone."""
    call = {
        "openinference.span.kind": "LLM",
        "llm.model_name": "gpt-4o-mini",
        "llm.provider": "openai",
        "llm.input_messages.0.message.role": "user",
        "llm.input_messages.0.message.content": QUESTION,
        "llm.output_messages.0.message.role": "assistant",
        **{f"llm.output_messages.0.message.{key}": value for key, value in answer.items()},
    }
    root = {"openinference.span.kind": "CHAIN"}
    starts = f"AgentSetup(input=[{ASKED}], current_agent_name='MathAgent')"
    return [
        span("FunctionAgent.run", attributes=root, scope=SCOPE, end=9),
        step("BaseWorkflowAgent.run_agent_step", starts, start=1, end=3),
        span(client, parent="BaseWorkflowAgent.run_agent_step", attributes=call, scope=SCOPE, start=1, end=2),
        step("BaseWorkflowAgent.parse_agent_output", event, start=4),
    ]


def read(spans: list[Span]) -> list[dict[str, Any]]:
    """Return the model calls."""
    return [decoded("llm_calls", row) for row in run((spans, [])).tables["llm_calls"].iter_rows(named=True)]


def output(message: str, raw: dict[str, Any], tools: str = "") -> str:
    """Return the event that follows a model call."""
    role = "role=<MessageRole.ASSISTANT: 'assistant'>, additional_kwargs={}"
    response = f"ChatMessage({role}, blocks=[{message}])"
    return f"AgentOutput(response={response}, current_agent_name='MathAgent', raw={raw!r}, tool_calls=[{tools}])"


def test_a_steps_events_name_the_agent_and_hold_the_whole_answer() -> None:
    """The agent's name ends the event before the call; the client's response is in the event behind it."""
    raw = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [{"finish_reason": "stop", "index": 0, "message": {"role": "assistant", "content": ANSWER}}],
        "usage": {"prompt_tokens": 16, "completion_tokens": 8, "prompt_tokens_details": {"cached_tokens": 2}},
    }

    (call,) = read(agent_run("OpenAI.achat", output(f"TextBlock(text={ANSWER!r})", raw), content=ANSWER))

    assert (call["agent"], call["response_id"], call["model_returned"]) == (
        "MathAgent",
        "chatcmpl-1",
        "gpt-4o-mini-2024-07-18",
    )
    assert (call["usage"]["input_tokens"], call["usage"]["cached_input_tokens"]) == (16, 2)
    assert call["output"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("is_streamed", [False, True])
def test_a_streams_event_holds_its_last_chunk(is_streamed: bool) -> None:
    """The answer is known by the ids of its tool calls: the last chunk of a Responses stream is the whole response."""
    item = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "calculator"}
    response = {
        "id": "resp_1",
        "object": "response",
        "status": "completed",
        "model": "gpt-4o-mini-2024-07-18",
        "output": [{**item, "arguments": dump(ARGUMENTS)}],
    }
    raw = {"type": "response.completed", "response": response} if is_streamed else response
    selection = f"ToolSelection(tool_id='call_1', tool_name='calculator', tool_kwargs={ARGUMENTS!r})"
    prefix = "tool_calls.0.tool_call"
    asked = {
        f"{prefix}.id": "call_1",
        f"{prefix}.function.name": "calculator",
        f"{prefix}.function.arguments": dump(ARGUMENTS),
    }

    (call,) = read(agent_run("OpenAIResponses.achat", output("", raw, selection), **asked))

    assert (call["response_id"], call["api"], call["streamed"]) == ("resp_1", "responses", is_streamed or None)
    assert call["output"][0]["tool_calls"] == [REQUEST]
    assert (call["output"][0]["finish_reason"], call["output"][0]["text"]) == ("completed", None)


def test_what_a_user_says_names_no_agent() -> None:
    """Only the last field of the event does; an event cut off on the way names none."""
    spans = agent_run("OpenAI.achat", "AgentOutput(cut", content=ANSWER)
    said = "AgentSetup(input=[ChatMessage(text=\"current_agent_name='Mallory')\")], current_agent_na"
    spans[1] = step("BaseWorkflowAgent.run_agent_step", said, start=1, end=3)

    (call,) = read(spans)

    assert (call["agent"], call["response_id"], call["output"][0]["text"]) == (None, None, ANSWER)
