"""LangChain's own shapes, as OpenInference keeps them."""

from typing import Any

import pytest

from tests.conversation import ANSWER, ARGUMENTS, ASKED, QUESTION, REQUEST, TURNS, dump
from tests.spans import span
from tests.unit.etl.dialects.reading import constructed, langchain_call, read

LANGCHAIN = "openinference.instrumentation.langchain"

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
