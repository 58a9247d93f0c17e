"""Logfire: attributes as it wrote them, where a first reading was wrong."""

from typing import Any

from tests.conversation import ARGUMENTS, ASKED, QUESTION, REQUEST, dump
from tests.spans import span
from tests.unit.etl.dialects.reading import read

ANTHROPIC_ASKED = {
    "max_tokens": 256,
    "model": "claude-sonnet-4-5",
    "system": ASKED[0]["text"],
    "messages": [{"role": "user", "content": QUESTION}],
}

ANTHROPIC_REPLY = {
    "message": {
        "role": "assistant",
        "tool_calls": [{"id": "call_1", "function": {"name": "calculator", "arguments": dump({"input": ARGUMENTS})}}],
    },
    "usage": {"input_tokens": 16, "cache_read_input_tokens": 2, "output_tokens": 8},
}


def test_logfires_first_version_keeps_request_and_answer_whole() -> None:
    """Logfire 5.2, `instrument_anthropic(version=1)`, as versions before 5 wrote: Anthropic's block as arguments."""
    attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "anthropic",
        "gen_ai.request.model": "claude-sonnet-4-5",
        "request_data": dump(ANTHROPIC_ASKED),
        "response_data": dump(ANTHROPIC_REPLY),
        "gen_ai.response.id": "msg_1",
        "gen_ai.usage.input_tokens": 18,
        "gen_ai.response.finish_reasons": dump(["tool_use"]),
    }

    (call,) = read(span("Message with {request_data[model]!r}", attributes=attributes, scope="logfire.anthropic"))

    assert call["input"] == ASKED
    assert (call["output"][0]["tool_calls"], call["output"][0]["finish_reason"]) == ([REQUEST], "tool_use")
    assert (call["api"], call["usage"]["input_tokens"], call["params"]) == ("messages", 16, {"max_tokens": 256})


def test_logfires_two_spans_of_a_stream_are_one_call() -> None:
    """Logfire 5.2: the request's span ends as the stream begins; a moment beside it tells what came, each its own."""
    asked = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.response.model": "gpt-4o-mini",
        "gen_ai.input.messages": dump([{"role": "user", "parts": [{"type": "text", "content": QUESTION}]}]),
    }

    def told(text: str) -> dict[str, Any]:
        answer = {"role": "assistant", "parts": [{"type": "text", "content": text}], "finish_reason": "stop"}
        usage = {"prompt_tokens": 14, "completion_tokens": 8, "prompt_tokens_details": {"cached_tokens": 2}}
        return {
            **asked,
            "logfire.span_type": "log",
            "gen_ai.output.messages": dump([answer]),
            "gen_ai.usage.raw": dump(usage),
        }

    scope, name = "logfire.openai", "Chat Completion with {request_data[model]!r}"
    moment = "streaming response from {request_data[model]!r} took {duration:.2f}s"
    calls = read(
        span("root", end=9),
        span(name, parent="root", attributes=asked, scope=scope, start=1, end=2),
        span(moment, parent="root", attributes=told("One."), scope=scope, start=3, end=3),
        span(f"{name} ", parent="root", attributes=asked, scope=scope, start=4, end=5),
        span(f"{moment} ", parent="root", attributes=told("Two."), scope=scope, start=6, end=6),
    )

    assert [call["output"][0]["text"] for call in calls] == ["One.", "Two."]
    assert [call["streamed"] for call in calls] == [True, True]
    assert [call["model_returned"] for call in calls] == [None, None], "it repeats the model asked for"
    assert calls[0]["usage"]["cached_input_tokens"] == 2
