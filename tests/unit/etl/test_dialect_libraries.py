"""Instrumentation libraries: attributes as they wrote them over real clients, where a first reading was wrong."""

from typing import Any

import pytest

from etl.dialects.values import error_of
from etl.export import decoded
from tests.conversation import ANSWER, ARGUMENTS, ASKED, QUESTION, REQUEST, TURNS, dump, run
from tests.spans import Span, span

Row = dict[str, Any]
LANGCHAIN = "openinference.instrumentation.langchain"
ANTHROPIC_CLIENT = "com.anthropic.sdk.python"


def read(*spans: Span) -> list[Row]:
    """Return the model calls in the order they began."""
    calls = run((list(spans), [])).tables["llm_calls"].sort("start_ns")
    return [decoded("llm_calls", row) for row in calls.iter_rows(named=True)]


def constructed(kind: str, **kwargs: Any) -> dict[str, Any]:
    """Return a message as LangChain's serialiser writes it."""
    return {"lc": 1, "type": "constructor", "id": ["langchain", "schema", "messages", kind], "kwargs": kwargs}


def langchain_call(message: dict[str, Any], *asked: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return the attributes openinference-instrumentation-langchain 0.1.80 gives a model call."""
    messages = asked or (constructed("HumanMessage", content=QUESTION, type="human"),)
    return {
        "openinference.span.kind": "LLM",
        "input.value": dump({"messages": [list(messages)]}),
        "output.value": dump({"generations": [[{"message": message}]], "llm_output": None, "type": "LLMResult"}),
        **more,
    }


BLOCKS = {
    "anthropic": {"id": "call_1", "input": ARGUMENTS, "name": "calculator", "type": "tool_use"},
    "bedrock_converse": {"type": "tool_use", "name": "calculator", "input": ARGUMENTS, "id": "call_1"},
    "openai": {
        "type": "function_call",
        "id": "fc_1",
        "call_id": "call_1",
        "name": "calculator",
        "arguments": dump(ARGUMENTS),
    },
}
METADATA: dict[str, dict[str, Any]] = {
    "anthropic": {"id": "msg_1", "stop_reason": "tool_use", "usage": {"input_tokens": 14, "output_tokens": 8}},
    "bedrock_converse": {"stopReason": "tool_use", "metrics": {"latencyMs": [3]}},
    "openai": {"id": "resp_1", "object": "response", "status": "completed"},
}


@pytest.mark.parametrize(
    ("provider", "api", "reason"),
    [
        ("anthropic", "messages", "tool_use"),
        ("bedrock_converse", None, "tool_use"),
        ("openai", "responses", "completed"),
    ],
)
def test_langchain_keeps_the_providers_blocks_beside_its_own_tool_calls(
    provider: str, api: str | None, reason: str
) -> None:
    """langchain-anthropic 1.7, -aws and -openai (Responses): one tool call, the API and reason of the provider."""
    asking = constructed(
        "AIMessage",
        content=[BLOCKS[provider]],
        response_metadata={"model_provider": provider, "model_name": "m", **METADATA[provider]},
        tool_calls=[{"name": "calculator", "args": ARGUMENTS, "id": "call_1", "type": "tool_call"}],
        usage_metadata={"input_tokens": 16, "output_tokens": 8},
        id="lc_run--01a1ff4c-cafe-7227-9714-44dcfc15c288-0",
    )
    history = (
        constructed("SystemMessage", content=ASKED[0]["text"]),
        constructed("HumanMessage", content=QUESTION),
        asking,
        constructed("ToolMessage", content="84", tool_call_id="call_1"),
    )

    first, second = read(
        span("ChatModel", attributes=langchain_call(asking), scope=LANGCHAIN),
        span(
            "again",
            attributes=langchain_call(constructed("AIMessage", content=ANSWER), *history),
            scope=LANGCHAIN,
            start=2,
        ),
    )

    assert first["output"][0]["tool_calls"] == [REQUEST]
    assert (first["api"], first["output"][0]["finish_reason"]) == (api, reason)
    assert first["streamed"] is False
    assert first["usage"]["input_tokens"] == (14 if provider == "anthropic" else 16)
    assert second["input"] == TURNS


def test_langchain_tells_of_several_answers_once_for_all() -> None:
    """langchain-openai 1.7 with n=2: id, model and counts are beside the generations."""
    answers = [
        constructed("AIMessage", content=text, response_metadata={"finish_reason": "stop"}) for text in ("One", "Two")
    ]
    whole = {
        "token_usage": {"prompt_tokens": 3, "completion_tokens": 4},
        "model_name": "gpt-4o-mini-2024-07-18",
        "id": "chatcmpl-1",
    }
    attributes = langchain_call(answers[0])
    attributes["output.value"] = dump(
        {"generations": [[{"message": answer} for answer in answers]], "llm_output": whole}
    )

    (call,) = read(span("ChatOpenAI", attributes=attributes, scope=LANGCHAIN))

    assert [message["text"] for message in call["output"]] == ["One", "Two"]
    assert (call["response_id"], call["model_returned"]) == ("chatcmpl-1", "gpt-4o-mini-2024-07-18")
    assert (call["api"], call["usage"]["output_tokens"]) == ("chat.completions", 4)


def test_what_langchain_itself_says_of_a_request() -> None:
    """langchain-ollama 1: model and temperature are nowhere but in LangChain's metadata."""
    message = constructed(
        "AIMessage", content="Hi.", response_metadata={"model_provider": "ollama", "done_reason": "stop"}
    )
    metadata = {"ls_provider": "ollama", "ls_model_name": "llama3.2", "ls_temperature": 0.5}

    (call,) = read(span("ChatOllama", attributes=langchain_call(message, metadata=dump(metadata)), scope=LANGCHAIN))

    assert (call["model_requested"], call["params"]) == ("llama3.2", {"temperature": 0.5})
    assert (call["api"], call["output"][0]["finish_reason"]) == (None, "stop")


def test_a_clients_bare_span_joins_the_stream_it_began_in() -> None:
    """langchain-anthropic 1.7 streams have no response id; the span of anthropic 2.12 beside it has no content."""
    message = constructed(
        "AIMessageChunk",
        content=ANSWER,
        response_metadata={"model_provider": "anthropic", "stop_reason": "end_turn"},
        usage_metadata={"input_tokens": 0, "output_tokens": 8},
    )
    asked = {"llm.invocation_parameters": dump({"model": "claude-sonnet-4-5"}), "llm.provider": "anthropic"}
    bare = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "claude-sonnet-4-5",
        "gen_ai.response.id": "msg_1",
        "gen_ai.usage.input_tokens": 13,
        "gen_ai.usage.cache_read.input_tokens": 2,
        "gen_ai.usage.output_tokens": 8,
    }
    other = {**bare, "gen_ai.response.id": "msg_2", "gen_ai.usage.output_tokens": 9}

    joined, alone = read(
        span("root", end=20),
        span("chain", parent="root", end=5),
        span("ChatAnthropic", parent="chain", attributes=langchain_call(message, **asked), scope=LANGCHAIN, end=4),
        span("anthropic.messages.create", parent="root", attributes=bare, scope=ANTHROPIC_CLIENT, start=1, end=3),
        span("anthropic.messages.create 2", parent="root", attributes=other, scope=ANTHROPIC_CLIENT, start=6, end=7),
    )

    assert (joined["response_id"], joined["output"][0]["text"], joined["streamed"]) == ("msg_1", ANSWER, True)
    assert joined["usage"]["input_tokens"] == 11, "as Anthropic counts: without what its cache held"
    assert (alone["response_id"], alone["output"]) == ("msg_2", None)


def test_a_failed_call_of_anthropics_client_is_of_its_api() -> None:
    """openinference-instrumentation-anthropic 3.1: a request without system text looks like any other."""
    attributes = {
        "openinference.span.kind": "LLM",
        "llm.provider": "anthropic",
        "input.value": dump({"model": "claude-sonnet-4-5", "max_tokens": 9, "messages": [{"role": "user"}]}),
    }

    (call,) = read(
        span(
            "messages.create",
            attributes=attributes,
            scope="openinference.instrumentation.anthropic",
            status="error",
            message="Error code: 429 - {'type': 'error', 'error': {'type': 'rate_limit_error', 'message': 'Slow.'}}",
        )
    )

    assert (call["api"], call["error"]["code"], call["error"]["message"]) == ("messages", "rate_limit_error", "Slow.")


def test_an_error_is_read_where_a_stack_trace_with_braces_follows_it() -> None:
    """openinference-instrumentation-langchain 0.1.80 puts exception and trace into one text."""
    body = "{'error': {'message': 'Slow down', 'type': 'requests', 'code': 'rate_limit'}}"
    message = f'OpenAIRateLimitError("Error code: 429 - {body}")Traceback:\n    call(**{{"a": 1}})\n'

    assert error_of(message) == {"http_status": 429, "code": "rate_limit", "message": "Slow down", "type": None}


def test_completions_are_read_too() -> None:
    """openinference-instrumentation-openai 0.1.66 over `client.completions`."""
    attributes = {
        "openinference.span.kind": "LLM",
        "input.value": dump({"model": "m", "prompt": QUESTION, "max_tokens": 5}),
        "output.value": dump(
            {
                "id": "cmpl-1",
                "object": "text_completion",
                "model": "m",
                "choices": [{"index": 0, "text": ANSWER, "finish_reason": "stop"}],
            }
        ),
    }

    (call,) = read(span("Completion", attributes=attributes, scope="openinference.instrumentation.openai"))

    assert call["api"] == "completions"
    assert call["input"] == [{"role": "user", "text": QUESTION}]
    assert (call["output"][0]["text"], call["output"][0]["finish_reason"]) == (ANSWER, "stop")
