"""Whether a recording is the whole exchange: what is cut, missing or contradictory is no transition, and says why."""

import json
from typing import Any

import pytest

from etl.settings import EtlConfig
from etl.transform import transform
from tests.spans import Span, gateway, llm, logs_frame, span, spans_frame


def reasons(*spans: Span) -> dict[str, list[str]]:
    """Return why calls are no transitions, by the id of their answer."""
    tables = transform(spans_frame([span("root", end=99), *spans]), logs_frame(), EtlConfig(complete_after=0)).tables
    ids = dict(zip(tables["llm_calls"]["span_id"], tables["llm_calls"]["response_id"], strict=True))
    found: dict[str, list[str]] = {}
    for row in tables["rejected"].rows(named=True):
        if row["stage"] == "transitions":
            found.setdefault(ids[row["span_id"]], []).append(row["reason"])
    return found


def asked(*messages: dict[str, Any]) -> dict[str, str]:
    return {"gen_ai.input.messages": json.dumps(list(messages))}


def text(role: str, words: str) -> dict[str, Any]:
    return {"role": role, "parts": [{"type": "text", "content": words}]}


def test_a_whole_exchange_is_a_transition() -> None:
    """Nothing is said against it."""
    assert reasons(llm("a", parent="root", response_id="a")) == {}


def test_a_result_that_nobody_asked_for_is_a_hole() -> None:
    """The assistant's request before it is lost."""
    result = {"role": "tool", "parts": [{"type": "tool_call_response", "id": "1", "response": "42"}]}
    lost = llm("a", parent="root", response_id="a", attributes=asked(text("user", "hi"), result))

    assert list(reasons(lost)) == ["a"]


@pytest.mark.parametrize(("result", "found"), [("42", ["a"]), ('{"output": "42"}', [])])
def test_gemini_was_not_sent_a_result_that_is_no_object(result: str, found: list[str]) -> None:
    """Its API takes objects alone, so a client put the text into a box that was recorded nowhere."""
    said = {"content": {"role": "model", "parts": [{"text": "42."}]}, "finishReason": "STOP"}
    answer = {"candidates": [said], "responseId": "a"}
    history = [
        {"role": "user", "content": "hi"},
        {"role": "model", "content": [{"toolRequest": {"name": "add", "input": {}}}]},
        {"role": "tool", "content": [{"toolResponse": {"name": "add", "output": result}}]},
    ]
    attributes = {"kit.input": json.dumps({"messages": history}), "kit.output": json.dumps(answer)}

    assert list(reasons(span("a", parent="root", scope="kit", attributes=attributes))) == found


def test_arguments_that_a_later_request_has_were_there_before() -> None:
    """The answer's own span has none of them."""

    def asks(given: dict[str, Any]) -> dict[str, Any]:
        return {"role": "assistant", "parts": [{"type": "tool_call", "id": "1", "name": "add", "arguments": given}]}

    told = {"role": "tool", "parts": [{"type": "tool_call_response", "id": "1", "response": "42"}]}
    empty = asked(text("user", "hi")) | {"gen_ai.output.messages": json.dumps([asks({})])}
    history = asked(text("user", "hi"), asks({"of": 2}), told)
    found = reasons(
        llm("a", parent="root", start=1, response_id="a", attributes=empty),
        llm("b", parent="root", start=3, response_id="b", attributes=history),
    )

    assert found == {"a": ["tool_call_missing"]}


@pytest.mark.parametrize("message", [{"role": "user", "parts": []}, {"role": "assistant", "parts": []}])
def test_a_message_that_says_nothing_at_all_is_a_hole(message: dict[str, Any]) -> None:
    """No provider takes one."""
    found = reasons(llm("a", parent="root", response_id="a", attributes=asked(text("user", "hi"), message)))

    assert list(found) == ["a"]


def test_an_answer_that_a_later_request_goes_on_from_with_tools_asked_for_them() -> None:
    """Its own span shows words alone, so what it asked for is missing."""
    calls = {"type": "tool_call", "id": "1", "name": "add", "arguments": {}}
    history = [
        text("user", "hi"),
        {"role": "assistant", "parts": [{"type": "text", "content": "one moment"}, calls]},
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "1", "response": "42"}]},
    ]
    found = reasons(
        llm("a", parent="root", start=1, said="one moment", response_id="a"),
        llm("b", parent="root", start=3, response_id="b", attributes=asked(*history)),
    )

    assert "b" not in found


def test_instructions_that_a_later_request_of_the_conversation_has_were_there_before() -> None:
    """Each turn in a trace of its own, the first without the instructions that the second has: the first lost them."""
    first = llm("first", trace="a", asked=[("user", "Hello?")], said="Good day.")
    history = [("system", "Be brief."), ("user", "Hello?"), ("assistant", "Good day."), ("user", "Bye.")]
    second = llm("second", trace="b", asked=history, said="Bye.", start=5)

    tables = transform(spans_frame([first, second]), logs_frame(), EtlConfig(complete_after=0)).tables

    assert tables["transitions"]["span_id"].to_list() == [second["span_id"]]
    assert tables["rejected"]["reason"].to_list() == ["recordings_disagree"]


def test_tokens_without_words_are_a_hole_unless_their_ids_are_known() -> None:
    """A gateway's answer of three ids may be no whole character yet: its text is empty, and nothing is missing."""
    used = {"gen_ai.usage.output_tokens": 3}
    silent = llm("a", parent="root", said=None, response_id="a", attributes=used)
    known = gateway("b", parent="root", said=None, response_id="b")
    known["attributes"] = json.dumps(json.loads(known["attributes"]) | used)

    assert list(reasons(silent)) == ["a"]
    assert reasons(known) == {}


@pytest.mark.parametrize(
    ("facts", "is_left"),
    [
        ({}, True),
        ({"gen_ai.usage.output_tokens": 1}, True),
        ({"gen_ai.usage.output_tokens": 9}, False),
        ({"gen_ai.response.finish_reasons": ["stop"]}, False),
        ({"gen_ai.request.stream": False}, False),
    ],
)
def test_a_stream_without_reason_or_counts_was_left(facts: dict[str, Any], is_left: bool) -> None:
    """Both come last; Anthropic's first piece counts one token."""
    said = json.dumps(
        [{"role": "assistant", "parts": [{"type": "text", "content": "It was the"}], "finish_reason": ""}]
    )
    attributes = {"gen_ai.request.stream": True, "gen_ai.output.messages": said} | facts

    found = reasons(llm("a", parent="root", response_id="a", attributes=attributes))

    assert found == ({"a": ["answer_left_early"]} if is_left else {})
