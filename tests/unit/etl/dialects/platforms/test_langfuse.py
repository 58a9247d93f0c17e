"""Langfuse: attributes as it wrote them, where a first reading was wrong."""

from typing import Any

from tests.conversation import ARGUMENTS, QUESTION, REQUEST, TOOL, dump, run
from tests.spans import Span, span
from tests.unit.etl.dialects.reading import calls_of, read, tools_of

LANGFUSE = "langfuse.observation."

WRAPPED = {"temperature": 1, "max_tokens": "Infinity", "top_p": 1, "frequency_penalty": 0, "presence_penalty": 0}
"""Parameters as Langfuse's wrapper of OpenAI's client writes them where the program set none."""


def observation(name: str, kind: str, *, start: float = 0, parent: str | None = None, **fields: Any) -> Span:
    """Return an observation of Langfuse; objects are written as JSON, as it does."""
    written = {
        LANGFUSE + key.replace("__", "."): dump(value) if isinstance(value, dict | list) else value
        for key, value in {"type": kind, **fields}.items()
    }
    return span(name, attributes=written, scope="langfuse-sdk", start=start, parent=parent)


def test_langfuse_lists_langchains_tools_among_the_messages() -> None:
    """Langfuse 3 to 5, handler for LangChain: offered tools as messages, kinds of tokens taken out of their sum."""
    offered = {"role": "tool", "content": {"type": "function", "function": TOOL}}
    request = {"name": "calculator", "args": ARGUMENTS, "id": "call_1", "type": "tool_call"}
    item = {"type": "function_call", "call_id": "call_1", "name": "calculator", "arguments": dump(ARGUMENTS)}
    generation = observation(
        "ChatOpenAI",
        "generation",
        parent="model",
        input=[
            {"role": "user", "content": QUESTION},
            {"role": "assistant", "content": [item], "tool_calls": [request]},
            {"role": "tool", "content": "84", "tool_call_id": "call_1"},
            offered,
        ],
        output={"role": "assistant", "content": "", "tool_calls": [{**request, "id": "call_2"}]},
        usage_details={"input": 85, "output": 8, "total": 112, "input_cache_read": 16, "output_reasoning": 3},
        model__parameters={"temperature": 0.3},
        model__name="gpt-4o-mini-2024-07-18",
        metadata__ls_provider='"openai"',
        metadata__ls_model_name='"gpt-4o-mini"',
        metadata__lc_agent_name='"MathAgent"',
    )
    told = {
        "type": "ai",
        "content": "",
        "id": "lc_run--01a1ff51-4d4f-7586-996d-df7b6dfbe068-0",
        "tool_calls": [{**request, "id": "call_2"}],
        "response_metadata": {"id": "chatcmpl-1", "finish_reason": "tool_calls"},
    }
    node = observation("model", "chain", output=[{"update": {"messages": [told]}, "goto": []}])

    (call,) = read(node, generation)

    assert call["tools"] == [TOOL]
    assert call["input"] == [
        {"role": "user", "text": QUESTION},
        {"role": "assistant", "text": None, "tool_calls": [REQUEST]},
        {"role": "tool", "text": "84", "tool_call_id": "call_1"},
    ]
    assert [entry["id"] for entry in call["output"][0]["tool_calls"]] == ["call_2"]
    assert (call["response_id"], call["output"][0]["finish_reason"]) == ("chatcmpl-1", "tool_calls")
    assert (call["usage"]["input_tokens"], call["usage"]["output_tokens"]) == (101, 11)
    assert (call["model_requested"], call["model_returned"]) == ("gpt-4o-mini", "gpt-4o-mini-2024-07-18")
    assert (call["agent"], call["streamed"]) == ("MathAgent", False)


def test_langfuse_records_an_only_item_without_its_list() -> None:
    """Langfuse 5, wrapper of OpenAI's Responses API: the request's items under `input`, one output item bare."""
    item = {"type": "function_call", "call_id": "call_1", "name": "calculator", "arguments": dump(ARGUMENTS)}
    tool = {"type": "function", **TOOL}

    (call,) = read(
        observation(
            "OpenAI-generation",
            "generation",
            input={"input": [{"role": "user", "content": QUESTION}], "tools": [tool]},
            output={**item, "status": "completed"},
            model__parameters=WRAPPED,
            model__name="gpt-4o-mini-2024-07-18",
        )
    )

    assert (call["api"], call["params"], call["tools"]) == ("responses", {}, [TOOL])
    assert call["input"] == [{"role": "user", "text": QUESTION}]
    assert call["output"][0]["tool_calls"] == [REQUEST]
    assert call["output"][0]["finish_reason"] == "completed"


def test_langfuse_streams_tell_id_and_instructions_as_metadata() -> None:
    """Langfuse 3, wrapper of OpenAI's Responses API, streamed: a bare question, the rest as metadata."""
    (call,) = read(
        observation(
            "OpenAI-generation",
            "generation",
            input=QUESTION,
            output={"type": "message", "status": "completed", "content": [{"type": "output_text", "text": "84"}]},
            model__parameters=WRAPPED,
            model__name="gpt-4o-mini-2024-07-18",
            completion_start_time='"2026-11-21T18:14:16Z"',
            metadata__id="resp_1",
            metadata__instructions="Use the calculator.",
            metadata__status="completed",
        )
    )

    assert call["input"] == [{"role": "system", "text": "Use the calculator."}, {"role": "user", "text": QUESTION}]
    assert (call["response_id"], call["streamed"]) == ("resp_1", True)


def test_langfuses_handler_and_wrapper_see_one_call() -> None:
    """Langfuse 3: the wrapper below LangChain writes an empty object for an answer that it could not read."""
    generation = observation(
        "ChatOpenAI",
        "generation",
        input=[{"role": "user", "content": QUESTION}],
        output={"role": "assistant", "content": "84"},
        metadata__ls_provider="openai",
        metadata__ls_model_name="gpt-4o-mini",
    )
    client = observation(
        "OpenAI-generation",
        "generation",
        parent="ChatOpenAI",
        input=[{"role": "user", "content": QUESTION}],
        output={},
        model__parameters=WRAPPED,
        model__name="gpt-4o-mini",
    )

    (call,) = read(generation, client)

    assert call["output"][0]["text"] == "84"
    assert len(call["merged_span_ids"]) == 1


def test_langfuses_decorator_names_the_arguments_of_a_tool() -> None:
    """Langfuse 3 to 5, `@observe(as_type="tool")`: what was given by name; what came by position has no names."""
    spans = [
        observation("calculator", "tool", input={"args": [], "kwargs": ARGUMENTS}, output="84"),
        observation("calculator by position", "tool", input={"args": ["12*7"], "kwargs": {}}, output="84", start=1),
    ]

    named, positional = tools_of(run((spans, [])))

    assert (named["arguments"], named["result"]) == (ARGUMENTS, "84")
    assert positional["arguments"] is None


def test_langfuse_embeddings_are_no_calls_of_a_policy() -> None:
    """Langfuse 3 to 5, wrapper of OpenAI's embeddings."""
    dataset = run(
        (
            [
                observation(
                    "OpenAI-embedding",
                    "embedding",
                    input=["one", "two"],
                    output={"dimensions": 8, "count": 2},
                    usage_details={"input": 9},
                    model__name="text-embedding-3-small",
                )
            ],
            [],
        )
    )

    (call,) = calls_of(dataset)
    assert (call["api"], call["input"], len(call["output"])) == ("embeddings", ["one", "two"], 2)
    assert dataset.counts["calls"]["rejected"] == {"embedding": 1}
