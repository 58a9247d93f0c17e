"""Which of OpenInference's spans are what."""

from typing import Any

import pytest

from etl.dialects.openinference import reader
from etl.dialects.spans import AgentSpan, Embedding, Evaluation, LlmCall, Span, ToolCall
from tests.unit.etl.calls.made import seen

KIND = "openinference.span.kind"


def span(kind: str, name: str = "work", library: str = "x", **fields: Any) -> Span:
    made = seen(scope=f"openinference.instrumentation.{library}").span
    made.name = name
    made.attributes = {KIND: kind, **{key.replace("__", "."): value for key, value in fields.items()}}
    return made


def test_a_span_translated_into_it_is_left_to_its_own_reader() -> None:
    """Unless OpenInference's own library wrote both."""
    own, translated = span("LLM"), span("LLM")
    for made in (own, translated):
        made.attributes["gen_ai.operation.name"] = "chat"
    translated.scope = "pydantic-ai"

    assert [reader.recognises(made) for made in (own, translated, seen().span)] == [True, False, False]


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (span("llm"), LlmCall),
        (span("LLM", "OpenAI._prepare_chat_with_tools"), None),
        (span("TOOL"), ToolCall),
        (span("CHAIN", tool__name="look"), ToolCall),
        (span("AGENT"), AgentSpan),
        (span("EVALUATOR"), Evaluation),
        (span("EMBEDDING"), Embedding),
        (span("CHAIN"), None),
        (span("RETRIEVER"), None),
        (span("TOOL", "handoff to Bob", "openai_agents"), None),
    ],
)
def test_kinds_are_read_for_what_they_are(made: Span, expected: type | None) -> None:
    """In whatever case they are written; a handing over is no tool's execution, nor is preparing a request a call."""
    found = reader.read(made)

    assert (type(found) if found is not None else None) is expected


@pytest.mark.parametrize(
    ("made", "name"),
    [
        (span("AGENT", "Scout.run", agent__name="scout"), "scout"),
        (span("AGENT", "Scout.run", graph__node__id="node"), "node"),
        (span("AGENT", "Scout._execute_core"), "Scout"),
        (span("AGENT", ".run"), None),
        (span("AGENT", "Agent workflow", "openai_agents"), None),
    ],
)
def test_an_agent_is_called_what_its_span_says(made: Span, name: str | None) -> None:
    """By an attribute, else by the name of the span, without the method's."""
    found = reader.read(made)

    assert isinstance(found, AgentSpan)
    assert found.name == name


def test_an_agent_works_inside_a_crews_delegation() -> None:
    """It is a tool, and the coworker at work; in other libraries a coworker is an argument."""
    fields = {"tool__name": "Delegate", "input__value": '{"coworker": "Scout", "task": "x"}'}

    crew, other = reader.read(span("TOOL", library="crewai", **fields)), reader.read(span("TOOL", **fields))

    assert isinstance(crew, list)
    assert [type(part) for part in crew] == [ToolCall, AgentSpan]
    assert isinstance(other, ToolCall)


def test_an_embedding_is_read_with_its_vectors_lengths() -> None:
    """Counts of the response go before the attribute's; vectors that are none have no length."""
    found = reader.read(
        span(
            "EMBEDDING",
            library="litellm",
            embedding__invocation_parameters='{"model": "openai/e"}',
            embedding__embeddings__0__embedding__text="a",
            embedding__embeddings__0__embedding__vector=[0.1, 0.2],
            embedding__embeddings__1__embedding__vector="cut",
            output__value='{"usage": {"prompt_tokens": 5}}',
            llm__token_count__prompt=3,
        )
    )

    assert isinstance(found, Embedding)
    assert (found.texts, found.dimensions, found.call.model_requested) == (["a"], [2], "e")
    assert found.call.usage is not None
    assert found.call.usage["input_tokens"] == 5


def test_an_error_is_its_status_and_else_its_exception() -> None:
    """The status' words go before; the exception's class is known from either."""
    made = span("EMBEDDING")
    made.status_code = "error"
    fields = {"exception.type": "RateLimitError", "exception.message": "Slow down"}
    made.events = [
        {"name": "note", "attributes": fields},
        {"name": "exception", "attributes": fields},
        {"name": "exception", "attributes": None},
    ]

    unsaid = reader.read(made)
    made.status_message = "Error code: 429 - x"
    said = reader.read(made)

    assert isinstance(unsaid, Embedding)
    assert isinstance(said, Embedding)
    errors = [embedding.call.error or {} for embedding in (unsaid, said)]
    assert [error["message"] for error in errors] == ["Slow down", "x"]
    assert [(error["type"], error["http_status"]) for error in errors] == [
        ("RateLimitError", None),
        ("RateLimitError", 429),
    ]
