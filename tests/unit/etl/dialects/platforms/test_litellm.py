"""LiteLLM's `otel` callback: attributes as 1.106.2 and 1.74.15 wrote them over real clients."""

from typing import Any

from etl.exports.export import decoded
from tests.conversation import ANSWER, ARGUMENTS, QUESTION, REQUEST, dump, run
from tests.spans import Span, span

OWN_ID = "chatcmpl-19ffde06-ec06-4081-958f-82a352d26b5c"
ASKED = [{"role": "user", "parts": [{"type": "text", "content": QUESTION}]}]
PARTS = {
    "gen_ai.request.model": "m",
    "llm.request.type": "completion",
    "gen_ai.operation.name": "chat",
    "gen_ai.system": "openai",
    "litellm.call_id": "d9cfdb64-b8f8-46a3-89b1-10810555eaf4",
    "gen_ai.input.messages": dump(ASKED),
}
FUNCTION_CALL = {
    "gen_ai.completion.0.function_call.name": "calculator",
    "gen_ai.completion.0.function_call.arguments": dump(ARGUMENTS),
}


def answered(text: str | None, reason: str) -> dict[str, Any]:
    """Return the attributes of an answer in parts."""
    parts = [] if text is None else [{"type": "text", "content": text}]
    return {
        "gen_ai.output.messages": dump([{"role": "assistant", "parts": parts, "finish_reason": reason}]),
        "gen_ai.response.finish_reasons": dump([reason]),
    }


def raw(name: str, parent: str, provider: str = "openai", **fields: Any) -> Span:
    """Return the span of the client's own request and response, values in Python's repr."""
    attributes = {f"llm.{provider}.{key}": value for key, value in fields.items()}
    return span(name, parent=parent, attributes=attributes, scope="litellm", start=0.2, end=0.8)


def read(*spans: Span) -> list[dict[str, Any]]:
    """Return the model calls in the order they began."""
    calls = run((list(spans), [])).tables["llm_calls"].sort("start_ns", "span_id")
    return [decoded("llm_calls", row) for row in calls.iter_rows(named=True)]


def test_a_stream_is_read_from_the_programs_own_span() -> None:
    """1.106.2: the parts stand on the span the call was made in; the raw span of a stream has only the request."""
    attributes = {
        **PARTS,
        **answered(ANSWER, "stop"),
        "gen_ai.operation.name": "acompletion",
        "llm.request.type": "acompletion",
        "llm.is_streaming": "True",
        "gen_ai.response.id": "chatcmpl-1",
        "gen_ai.usage.input_tokens": 0,
        "gen_ai.usage.output_tokens": 0,
    }
    messages = repr([{"role": "user", "content": QUESTION}])

    (call,) = read(
        span("handle_request", attributes=attributes), raw("raw", "handle_request", messages=messages, stream=True)
    )

    assert (call["output"][0]["text"], call["response_id"], call["streamed"]) == (ANSWER, "chatcmpl-1", True)
    assert (call["model_requested"], call["usage"]) == ("m", None)


def test_what_an_earlier_call_left_on_the_span_is_not_the_later_ones() -> None:
    """1.106.2: parts of a later call overwrite an earlier one's, but for those it does not have."""
    later = {**PARTS, **answered(ANSWER, "stop"), **FUNCTION_CALL}
    failed = {**later, "error.message": "Slow.", "error.code": "429", "gen_ai.response.id": PARTS["litellm.call_id"]}

    (success,) = read(span("handle_request", attributes=later))
    (failure,) = read(span("handle_request", attributes=failed, status="error"))

    assert success["output"][0]["tool_calls"] == []
    assert (failure["output"], failure["response_id"], failure["error"]["http_status"]) == (None, None, 429)


def test_an_id_that_litellm_made_up_does_not_part_the_two_spans() -> None:
    """1.74.15 and 1.106.2 over Anthropic: an id of its own, and what the cache held counted in with the input."""
    outer = {
        **PARTS,
        **answered(None, "tool_calls"),
        **FUNCTION_CALL,
        "gen_ai.system": "anthropic",
        "gen_ai.response.id": OWN_ID,
        "gen_ai.usage.input_tokens": 18,
        "gen_ai.usage.output_tokens": 8,
    }
    inner = {
        "messages": repr([{"role": "user", "content": QUESTION}]),
        "max_tokens": 50,
        "id": "msg_1",
        "model": "m",
        "content": repr([{"type": "tool_use", "id": "call_1", "name": "calculator", "input": ARGUMENTS}]),
        "stop_reason": "tool_use",
        "usage": repr({"input_tokens": 16, "output_tokens": 8, "cache_read_input_tokens": 2}),
    }

    (call,) = read(
        span("litellm_request", attributes=outer, scope="litellm"),
        raw("raw", "litellm_request", "anthropic", **inner),
    )

    assert (call["response_id"], call["model_requested"]) == ("msg_1", "m")
    assert (call["output"][0]["tool_calls"], call["usage"]["input_tokens"]) == ([REQUEST], 16)


def test_tool_calls_numbered_as_answers_are_one_answers() -> None:
    """1.74.15: parallel calls of a stream, whose raw span is empty."""
    attributes = {
        "gen_ai.request.model": "m",
        "llm.request.type": "completion",
        "gen_ai.prompt.0.role": "user",
        "gen_ai.prompt.0.content": QUESTION,
        "gen_ai.completion.0.role": "assistant",
        "gen_ai.completion.0.finish_reason": "tool_calls",
        **FUNCTION_CALL,
        "gen_ai.completion.1.function_call.name": "weather",
        "gen_ai.completion.1.function_call.arguments": dump({"city": "Oslo"}),
    }

    (call,) = read(span("litellm_request", attributes=attributes, scope="litellm"))

    (answer,) = call["output"]
    assert [request["name"] for request in answer["tool_calls"]] == ["calculator", "weather"]
    assert answer["finish_reason"] == "tool_calls"
