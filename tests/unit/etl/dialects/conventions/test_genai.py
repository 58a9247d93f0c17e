"""The conventions as libraries write them, where a first reading was wrong."""

from tests.conversation import ANSWER, QUESTION, REQUEST, TOOL, dump, run
from tests.spans import span
from tests.unit.etl.dialects.reading import calls_of, parts, read


def test_a_time_to_the_first_chunk_means_a_stream() -> None:
    """pydantic-ai 2.68 and @ai-sdk/otel 1.0 put the name of the conventions' metric on the span."""
    chat = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.input.messages": parts("user", {"type": "text", "content": QUESTION}),
    }

    calls = read(
        span("streamed", attributes={**chat, "gen_ai.client.operation.time_to_first_chunk": 0.02}, scope="pydantic-ai"),
        span("whole", start=2, attributes=chat, scope="pydantic-ai"),
    )

    assert [call["streamed"] for call in calls] == [True, None]


def test_a_request_with_holes_makes_no_transition() -> None:
    """LiteLLM 1.106, Responses API: tool calls and their results are recorded as empty texts of the user."""
    holes = [{"role": "user", "parts": [{"type": "text", "content": text}]} for text in (QUESTION, "", "")]
    attributes = {
        "gen_ai.operation.name": "responses",
        "llm.request.type": "chat",
        "openai.api.type": "responses",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.input.messages": dump(holes),
        "gen_ai.output.messages": parts("assistant", {"type": "text", "content": "84"}),
    }

    dataset = run(([span("litellm_request", attributes=attributes, scope="litellm")], []))

    assert [call["api"] for call in calls_of(dataset)] == ["responses"]
    assert dataset.counts["calls"]["transitions"] == 0


def test_an_unknown_reason_is_no_error() -> None:
    """opentelemetry-instrumentation-genai-langchain 1.3b0 over the Responses API says `error` of a good answer."""
    answer = {"role": "assistant", "parts": [{"type": "text", "content": ANSWER}], "finish_reason": "error"}
    attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.response.id": "resp_1",
        "gen_ai.response.finish_reasons": ["error"],
        "gen_ai.output.messages": dump([answer]),
    }

    (call,) = read(span("chat", attributes=attributes, scope="opentelemetry.instrumentation.genai.langchain"))

    assert (call["output"][0]["text"], call["output"][0]["finish_reason"]) == (ANSWER, None)


def test_bedrocks_reasons_are_given_in_its_words() -> None:
    """opentelemetry-instrumentation-genai-bedrock 1.3b0 translates them."""
    answer = {"role": "assistant", "parts": [{"type": "tool_call", **REQUEST}], "finish_reason": "tool_call"}
    attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "aws.bedrock",
        "gen_ai.request.model": "m",
        "gen_ai.output.messages": dump([answer]),
    }

    (call,) = read(span("chat m", attributes=attributes, scope="opentelemetry.instrumentation.genai.bedrock"))

    assert (call["output"][0]["finish_reason"], call["api"]) == ("tool_use", None)


def test_geminis_words_are_restored() -> None:
    """opentelemetry-instrumentation-google-genai 1.3b0 has the conventions' words, and thoughts among the answer."""
    capitals = {"type": "OBJECT", "properties": {"expression": {"type": "STRING"}}, "required": ["expression"]}
    answer = {"role": "assistant", "parts": [{"type": "text", "content": ANSWER}], "finish_reason": "stop"}
    attributes = {
        "gen_ai.operation.name": "generate_content",
        "gen_ai.provider.name": "gemini",
        "gen_ai.request.model": "gemini-2.5-flash",
        "gen_ai.request.max_tokens": 50,
        "gen_ai.output.messages": dump([answer]),
        "gen_ai.tool.definitions": dump([{**TOOL, "type": "function", "parameters": capitals}]),
        "gen_ai.usage.output_tokens": 9,
        "gen_ai.usage.reasoning.output_tokens": 1,
    }

    (call,) = read(span("generate_content", attributes=attributes, scope="opentelemetry.instrumentation.google_genai"))

    assert (call["output"][0]["finish_reason"], call["params"]) == ("STOP", {"max_output_tokens": 50})
    assert (call["tools"], call["usage"]["output_tokens"]) == ([TOOL], 8)
