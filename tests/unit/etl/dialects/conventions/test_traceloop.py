"""Traceloop's libraries: attributes as they wrote them, where a first reading was wrong."""

from typing import Any

import pytest

from tests.conversation import ANSWER, ARGUMENTS, QUESTION, REQUEST, TURNS, dump
from tests.spans import Span, span
from tests.unit.etl.dialects.reading import parts, read


@pytest.mark.parametrize(("identifier", "api"), [("resp_1", "responses"), (None, None)])
def test_traceloop_calls_every_model_call_of_openai_agents_a_response(identifier: str | None, api: str | None) -> None:
    """Version 0.62.4 over openai-agents 0.24: a chat completion's span has that name too, and no response's id."""
    attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.input.messages": parts("user", {"type": "text", "content": QUESTION}),
        **({"gen_ai.response.id": identifier} if identifier else {}),
    }
    scope = "opentelemetry.instrumentation.openai_agents"

    (call,) = read({**span("openai.response", attributes=attributes, scope=scope), "scope_version": "0.62.4"})

    assert (call["api"], call["input"]) == (api, [{"role": "user", "text": QUESTION}])


def test_results_tell_the_ids_of_a_responses_answer() -> None:
    """opentelemetry-instrumentation-openai 0.62.4 names a call by its item; a result does not."""
    call = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "m"}
    item = {"type": "tool_call", **REQUEST, "id": "fc_1"}
    user = {"role": "user", "parts": [{"type": "text", "content": QUESTION}]}
    asking = {"role": "assistant", "parts": [item]}
    result = {"role": "tool", "parts": [{"type": "tool_call_response", "id": "call_1", "response": "84"}]}
    scope = "opentelemetry.instrumentation.openai.v1"

    def turn(name: str, asked: list[Any], answer: Any, response_id: str, start: float) -> Span:
        fields = {
            **call,
            "gen_ai.response.id": response_id,
            "gen_ai.input.messages": dump(asked),
            "gen_ai.output.messages": dump([answer]),
        }
        return span(name, parent="root", attributes=fields, scope=scope, start=start)

    said = {"role": "assistant", "parts": [{"type": "text", "content": ANSWER}]}
    first, second = read(
        span("root", end=9),
        turn("one", [user], asking, "resp_1", 1),
        turn("two", [user, asking, result], said, "resp_2", 3),
    )

    assert first["output"][0]["tool_calls"] == [REQUEST]
    assert second["input"] == TURNS[1:]


def test_traceloops_indexed_thoughts_and_penalties_are_read() -> None:
    """opentelemetry-instrumentation-anthropic and -openai 0.47.5: thoughts are a completion of their own."""
    attributes = {
        "gen_ai.system": "Anthropic",
        "llm.request.type": "completion",
        "gen_ai.request.model": "m",
        "llm.frequency_penalty": 0.1,
        "gen_ai.prompt.0.content": QUESTION,
        "gen_ai.completion.0.role": "thinking",
        "gen_ai.completion.0.content": "I weigh it.",
        "gen_ai.completion.0.finish_reason": "end_turn",
        "gen_ai.completion.1.role": "assistant",
        "gen_ai.completion.1.content": ANSWER,
    }

    (call,) = read(span("anthropic.chat", attributes=attributes, scope="opentelemetry.instrumentation.anthropic"))

    (answer,) = call["output"]
    assert (answer["text"], answer["reasoning"], answer["finish_reason"]) == (ANSWER, "I weigh it.", "end_turn")
    assert (call["params"], call["input"]) == ({"frequency_penalty": 0.1}, [{"role": "user", "text": QUESTION}])


def test_traceloops_dumps_of_blocks_are_no_text() -> None:
    """Traceloop 0.62.4 over LangChain's Responses and over Bedrock writes blocks it does not know as JSON."""
    block = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "calculator", "arguments": "{}"}
    thought = {"reasoningContent": {"reasoningText": {"text": "I weigh it.", "signature": "s"}}}
    parts = [{"type": "text", "content": dump(part)} for part in (block, thought)]
    answer = {"role": "assistant", "parts": [*parts, {"type": "tool_call", **REQUEST}], "finish_reason": "tool_call"}
    own = {"role": "assistant", "parts": [{"type": "text", "content": dump({"answer": 84})}]}
    fields = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}

    asking, answering = (
        read(
            span(
                "chat",
                attributes={**fields, "gen_ai.output.messages": dump([said])},
                scope="opentelemetry.instrumentation.langchain",
            )
            | {"scope_version": "0.62.4"}
        )[0]["output"][0]
        for said in (answer, own)
    )

    assert (asking["text"], asking["reasoning"], asking["tool_calls"]) == (None, "I weigh it.", [REQUEST])
    assert answering["text"] == dump({"answer": 84}), "a JSON answer stays the text it is"


def test_reasons_and_thoughts_beside_indexed_messages_are_read() -> None:
    """opentelemetry-instrumentation-cohere 0.62.4: reasons apart; -openai 0.47.5: reasoning under `llm.usage`."""
    attributes = {
        "gen_ai.system": "Cohere",
        "llm.request.type": "chat",
        "gen_ai.completion.0.role": "assistant",
        "gen_ai.completion.0.content": ANSWER,
        "gen_ai.response.finish_reasons": ["COMPLETE"],
        "gen_ai.usage.completion_tokens": 8.0,
        "llm.usage.reasoning_tokens": 1,
    }

    (call,) = read(span("cohere.chat", attributes=attributes, scope="opentelemetry.instrumentation.cohere"))

    assert call["output"][0]["finish_reason"] == "COMPLETE"
    assert (call["usage"]["output_tokens"], call["usage"]["reasoning_tokens"]) == (8, 1)


def test_bedrocks_blocks_in_indexed_messages_are_read() -> None:
    """opentelemetry-instrumentation-bedrock 0.47.5 writes content as JSON, whether blocks or text; others' is text."""
    blocks = [[{"text": QUESTION}], [{"toolUse": {"toolUseId": "call_1", "name": "calculator", "input": ARGUMENTS}}]]
    fields = {"llm.request.type": "chat", "gen_ai.request.model": "m"}

    bedrock, quoting = (
        read(span("call", attributes={**fields, **own}, scope="opentelemetry.instrumentation.bedrock"))[0]
        for own in (
            {
                "gen_ai.system": "AWS",
                "gen_ai.prompt.0.role": "user",
                "gen_ai.prompt.0.content": dump(blocks[0]),
                "gen_ai.prompt.1.role": "assistant",
                "gen_ai.prompt.1.content": dump(blocks[1]),
                "gen_ai.prompt.2.role": "user",
                "gen_ai.prompt.2.content": dump("And?"),
            },
            {"gen_ai.system": "OpenAI", "gen_ai.prompt.0.role": "user", "gen_ai.prompt.0.content": dump("And?")},
        )
    )

    assert bedrock["input"] == [TURNS[1], TURNS[2], {"role": "user", "text": "And?"}]
    assert quoting["input"] == [{"role": "user", "text": '"And?"'}], "the user's own quotation marks"
