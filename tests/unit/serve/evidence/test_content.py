"""Requests and answers as messages made of parts, whatever a client sent."""

import json
from typing import Any

import pytest

from serve.api.answers import Choice
from serve.evidence.content import content_attributes, input_message, output_message


def test_a_message_is_its_parts_in_order() -> None:
    """Reasoning first, then what was said, then what was asked for; arguments as JSON where they are."""
    calls = [
        {"id": "1", "function": {"name": "add", "arguments": '{"a": 1}'}},
        {"id": "2", "function": {"name": "add", "arguments": "{a:"}},
    ]
    message = {"role": "assistant", "reasoning_content": "so", "content": "ok", "tool_calls": calls}

    assert input_message(message)["parts"] == [
        {"type": "reasoning", "content": "so"},
        {"type": "text", "content": "ok"},
        {"type": "tool_call", "id": "1", "name": "add", "arguments": {"a": 1}},
        {"type": "tool_call", "id": "2", "name": "add", "arguments": "{a:"},
    ]


def test_a_tools_result_names_its_call() -> None:
    """As the conventions have it."""
    part = {"type": "tool_call_response", "id": "1", "response": "42"}
    assert input_message({"role": "tool", "tool_call_id": "1", "content": "42"}) == {"role": "tool", "parts": [part]}


def test_an_answer_says_why_it_ended() -> None:
    """And what it refused; calls stand in the order of the message."""
    calls = {1: {"id": "b", "name": "g", "arguments": "{}"}, 0: {"id": "a", "name": "f", "arguments": "{}"}}

    found = output_message(Choice(refusal="no", tool_calls=calls, finish_reason="tool_calls"))

    assert [part.get("id", part["type"]) for part in found["parts"]] == ["refusal", "a", "b"]
    assert found["finish_reason"] == "tool_calls"


@pytest.mark.parametrize(
    "request_",
    [
        {"messages": "hello", "tools": "abc"},
        {"messages": [7, None, {"content": [5]}], "tools": [5, {"type": 3, "function": 9}]},
        {"messages": [{"role": {}, "tool_calls": "x"}], "instructions": 7},
        {"messages": [{"content": "half " + chr(0xD800)}, {"content": 2**70}]},
    ],
)
def test_odd_requests_are_recorded_as_far_as_they_have_a_shape(request_: dict[str, Any]) -> None:
    """Nothing raises, and what is recorded is JSON."""
    for text in content_attributes(request_, [], is_chat=True).values():
        assert text is None or json.loads(str(text)) is not None


def test_a_plain_completion_has_its_prompt_and_ids_have_none() -> None:
    """Ids are on the span already."""
    said = content_attributes({"prompt": "1+1"}, [], is_chat=False)["gen_ai.input.messages"]

    assert json.loads(str(said)) == [{"role": "user", "parts": [{"type": "text", "content": "1+1"}]}]
    assert content_attributes({"prompt": [1, 2]}, [], is_chat=False)["gen_ai.input.messages"] is None
