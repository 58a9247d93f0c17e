"""What an SDK's limit cut off makes a call no transition, unless what was cut is only a copy."""

import json
from typing import Any

import pytest

from etl.settings import EtlConfig
from etl.tables import Dataset
from etl.transform import transform
from tests.spans import Span, llm, logs_frame, messages, span, spans_frame

LONG = "The order of the customer is as follows, and all of it matters: " * 30


def reasons(*spans: Span) -> list[str]:
    """Return why calls are no transitions."""
    dataset: Dataset = transform(spans_frame(spans), logs_frame(), EtlConfig(complete_after=0))
    return dataset.tables["rejected"]["reason"].to_list()


def openinference(*texts: str, limit: int | None = None, dumped: bool = True) -> Span:
    """Return a call with its messages in numbered attributes, its request as JSON beside them, and all of it cut."""
    fields: dict[str, Any] = {
        "openinference.span.kind": "LLM",
        "llm.model_name": "m",
        "llm.output_messages.0.message.role": "assistant",
        "llm.output_messages.0.message.content": "Done.",
    }
    for number, text in enumerate(texts):
        fields[f"llm.input_messages.{number}.message.role"] = "user"
        fields[f"llm.input_messages.{number}.message.content"] = text
    if dumped:
        body = {"model": "m", "messages": [{"role": "user", "content": text} for text in texts]}
        fields["input.value"] = json.dumps(body)
    cut = {name: value[:limit] if isinstance(value, str) else value for name, value in fields.items()}
    return span("call", attributes=cut, scope="openinference.instrumentation.openai")


@pytest.mark.parametrize("limit", [128, 400, 777, 1024])
def test_a_message_cut_where_its_request_breaks_off_too_is_no_observation(limit: int) -> None:
    """At any limit: the JSON that ends nowhere proves it."""
    assert reasons(openinference(LONG + "What is the total?", limit=limit)) == ["values_cut"]


def test_two_messages_cut_at_one_length_are_no_observation() -> None:
    """Without JSON beside them."""
    assert reasons(openinference(LONG, "And: " + LONG, limit=500, dumped=False)) == ["values_cut"]


@pytest.mark.parametrize("limit", [1024, 4096])
def test_a_copy_that_was_cut_takes_nothing_from_whole_messages(limit: int) -> None:
    """A conversation's JSON is longer than any of its messages."""
    turns = [f"Turn {number}: {LONG[:300]}" for number in range(20)]

    assert reasons(openinference(*turns, limit=limit)) == []


def test_a_list_of_messages_that_breaks_off_is_no_observation() -> None:
    """There is nothing else."""
    recorded = messages(("user", "Hello."), ("assistant", "Yes?"), ("user", LONG))[:1500]

    assert reasons(llm("call", attributes={"gen_ai.input.messages": recorded})) == ["values_cut"]


def test_a_tool_that_cut_its_own_answer_was_seen_so() -> None:
    """Within whole JSON these are the tool's own words."""
    asked = {"type": "tool_call", "id": "k", "name": "read", "arguments": {}}
    given = {"type": "tool_call_response", "id": "k", "response": "line\n" * 50 + "... [truncated]"}
    turns = [
        {"role": "user", "parts": [{"type": "text", "content": "Read it."}]},
        {"role": "assistant", "parts": [asked]},
        {"role": "tool", "parts": [given]},
    ]

    assert reasons(llm("call", attributes={"gen_ai.input.messages": json.dumps(turns)})) == []


@pytest.mark.parametrize(
    "text",
    [
        "[[ ## question ## ]]\nWhat is 17 times 23? End with the marker for `[[ ## completed ## ]]`.",
        f"[[Refunds]]: {LONG}",
    ],
)
def test_words_in_brackets_are_no_json_that_breaks_off(text: str) -> None:
    """DSPy's markers and a wiki's links begin as lists of lists do."""
    assert reasons(openinference(text, dumped=False)) == []


@pytest.mark.parametrize("limit", [40, 50, 80, 128])
def test_short_limits_are_seen_where_several_texts_end_at_one(limit: int) -> None:
    """Between words, or in the middle of one, and ids beside them; texts that end by themselves prove nothing."""
    whole = "You are an agent of the shop, and look orders up", "Where is my order of the day before yesterday, if"
    texts = [(text + " you please, as said before, and what about the other one that I had") * 2 for text in whole]

    assert reasons(openinference(*texts, limit=limit, dumped=False)) == ["values_cut"]
    assert reasons(openinference("What is it, and where, say?? " * 4 + "Now.", "No." * 40, dumped=False)) == []
