"""LangSmith: attributes as it wrote them, where a first reading was wrong."""

from typing import Any

from tests.conversation import ARGUMENTS, QUESTION, REQUEST, dump, run
from tests.spans import span
from tests.unit.etl.dialects.reading import constructed, read


def langsmith_call(generation: dict[str, Any], **attributes: Any) -> dict[str, Any]:
    """Return the attributes of a LangChain model call in LangSmith's OpenTelemetry mode."""
    return {
        "langsmith.span.kind": "llm",
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "gpt-4o-mini",
        "langsmith.metadata._type": "openai-chat",
        "langsmith.metadata.temperature": 0.3,
        "langsmith.metadata.max_completion_tokens": 50,
        "langsmith.metadata.stream": True,
        "gen_ai.prompt": dump({"messages": [[constructed("HumanMessage", content=QUESTION, type="human")]]}),
        "gen_ai.completion": dump({"generations": [[{"type": "ChatGeneration", "message": generation}]]}),
        **attributes,
    }


def test_langsmith_keeps_a_langchain_models_parameters_as_metadata() -> None:
    """LangSmith 0.15 with LangChain 1.4: parameters and streaming are metadata, and so are the details of usage."""
    said = constructed("AIMessage", content="84", response_metadata={"finish_reason": "stop"})
    counts = {"input_tokens": 101, "output_tokens": 11, "input_token_details": {"cache_read": 16}}
    attributes = langsmith_call(
        said,
        **{
            "gen_ai.usage.input_tokens": 101,
            "gen_ai.usage.output_tokens": 11,
            "langsmith.metadata.usage_metadata": dump(counts),
        },
    )

    (call,) = read(span("ChatOpenAI", attributes=attributes, scope="langsmith"))

    assert call["params"] == {"temperature": 0.3, "max_completion_tokens": 50}
    assert call["streamed"] is True
    assert call["usage"]["cached_input_tokens"] == 16


def test_langchains_answer_of_the_responses_api_asks_once() -> None:
    """LangChain 1.4: `content` has the API's own item or block for each call that `tool_calls` has too."""
    item = {"type": "function_call", "call_id": "call_1", "name": "calculator", "arguments": dump(ARGUMENTS)}
    request = {"name": "calculator", "args": ARGUMENTS, "id": "call_1", "type": "tool_call"}
    metadata = {"id": "resp_1", "status": "completed", "model_name": "gpt-4o-mini-2024-07-18"}
    said = constructed("AIMessage", content=[item], tool_calls=[request], response_metadata=metadata)

    (call,) = read(span("ChatOpenAI", attributes=langsmith_call(said), scope="langsmith"))

    assert call["api"] == "responses"
    assert call["output"][0]["tool_calls"] == [REQUEST]
    assert call["output"][0]["finish_reason"] == "completed"


def test_langchains_empty_answer_of_a_failed_call_is_none() -> None:
    """LangSmith 0.15 with LangChain 1.4: the answer of a failed call is the error's body, around no text."""
    body = {"error": {"message": "No.", "type": "bad_request", "code": "bad_request"}}
    said = constructed("AIMessage", content="", response_metadata={"body": body, "status_code": 400})
    failure = {"name": "exception", "time_ns": 0, "attributes": {"exception.message": "Error code: 400 - No."}}

    (call,) = read(
        span("ChatOpenAI", attributes=langsmith_call(said), scope="langsmith", status="error", events=[failure])
    )

    assert call["output"] is None
    assert (call["error"]["http_status"], call["error"]["code"]) == (400, "bad_request")


def test_what_langsmiths_evaluators_ask_is_no_action() -> None:
    """LangSmith 0.15, `evaluate`: an evaluator's run names the run it judges, or is of the evaluators' project."""
    said = constructed("AIMessage", content="84", response_metadata={"finish_reason": "stop"})
    chain = {"langsmith.span.kind": "chain", "gen_ai.operation.name": "chain"}
    spans = [
        span("acting", attributes=langsmith_call(said), scope="langsmith"),
        span("by run", attributes={**chain, "langsmith.metadata.target_run_id": "r"}, scope="langsmith"),
        span("by project", attributes={**chain, "langsmith.trace.session_name": "evaluators"}, scope="langsmith"),
        span("judging", parent="by run", attributes=langsmith_call(said), scope="langsmith"),
        span("judging too", parent="by project", attributes=langsmith_call(said), scope="langsmith"),
    ]

    dataset = run((spans, []))

    assert dataset.counts["calls"] == {"in": 3, "transitions": 1, "other_choices": 0, "rejected": {"evaluator": 2}}


def test_langsmith_has_openai_agents_responses_in_pieces() -> None:
    """LangSmith 0.15, `OpenAIAgentsTracingProcessor`: items in the prompt and the completion, the rest as metadata."""
    own = {"langsmith.metadata.ls_integration": "openai-agents-sdk", "langsmith.metadata.output_type": "str"}
    chain = {"langsmith.span.kind": "chain", "gen_ai.operation.name": "chain", **own}
    item = {"type": "function_call", "call_id": "call_1", "name": "calculator", "arguments": dump(ARGUMENTS)}
    response = {
        "langsmith.span.kind": "llm",
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "gpt-4o-mini-2024-07-18",
        "gen_ai.prompt": dump({"input": [{"role": "user", "content": QUESTION}], "instructions": "Be MathAgent."}),
        "gen_ai.completion": dump({"output": [item]}),
        "langsmith.metadata.object": "response",
        "langsmith.metadata.id": "resp_1",
        "langsmith.metadata.status": "completed",
        "langsmith.metadata.ls_model_name": "gpt-4o-mini-2024-07-18",
        **own,
    }
    generation = {
        "langsmith.span.kind": "llm",
        "gen_ai.operation.name": "chat",
        "gen_ai.prompt": dump({"input": [{"role": "user", "content": QUESTION}]}),
        "gen_ai.completion": dump({"role": "assistant", "content": "84"}),
        **own,
    }
    scope = "langsmith"

    by_response, by_chat = read(
        span("MathAgent", attributes=chain, scope=scope, end=9),
        span("Span", parent="MathAgent", attributes=chain, scope=scope, end=8),
        span("Response", parent="Span", attributes=response, scope=scope),
        span("Generation", parent="Span", attributes=generation, scope=scope, start=2),
    )

    assert (by_response["api"], by_response["response_id"], by_response["agent"]) == (
        "responses",
        "resp_1",
        "MathAgent",
    )
    assert by_response["output"][0]["tool_calls"] == [REQUEST]
    assert (by_response["model_requested"], by_response["model_returned"]) == ("gpt-4o-mini", "gpt-4o-mini-2024-07-18")
    assert (by_chat["input"], by_chat["output"][0]["text"]) == ([{"role": "user", "text": QUESTION}], "84")
    assert by_chat["agent"] == "MathAgent"
