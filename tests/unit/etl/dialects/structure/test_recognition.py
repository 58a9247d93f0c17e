"""What is a message, a block, a call of a tool, a stream; and what is data."""

from typing import Any

import pytest

from etl.dialects.structure import recognition

Json = dict[str, Any]
USER, ODD = {"role": "user", "content": "x"}, {"strange": 1}


@pytest.mark.parametrize(
    "value",
    [
        {"role": "user"},
        {"role": "model", "parts": []},
        {"author": "assistant", "text": "x"},
        {"speaker": "human", "message": "x"},
        {"type": "AIMessage", "content": "x"},
        {"type": "human", "data": {"content": "x"}},
        {"message": {"role": "tool", "content": "x"}},
        {"type": "function_call", "name": "look"},
    ],
)
def test_a_message_says_who_speaks_or_is_an_item(value: Json) -> None:
    """In any of the ways in which libraries say so."""
    assert recognition.is_message(value)


@pytest.mark.parametrize(
    "value",
    [
        "user",
        None,
        {"role": "admin"},
        {"role": 3},
        {"author": "Kafka", "text": "x"},
        {"type": "human"},
        {"type": "reasoning"},
        {"message": {"role": "tool"}, "code": 1},
        {"type": "square", "content": "x"},
    ],
)
def test_what_only_resembles_a_message_is_none(value: Any) -> None:
    """A user's record with a role, an author or a type of its own."""
    assert not recognition.is_message(value)


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([USER], True),
        ([USER, ODD], False),
        ([USER, USER, ODD], True),
        ([USER, USER, ODD, ODD], False),
        ([{**USER, "type": "human"}, {"type": "strange"}, {"type": "stranger"}], True),
        ([ODD], False),
        ([], False),
        (USER, False),
    ],
)
def test_one_entry_of_a_kind_nobody_knows_leaves_a_list_of_messages_one(items: Any, expected: bool) -> None:
    """Where most of them are known, or all say of what type they are."""
    assert recognition.is_messages(items) is expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"name": "a", "arguments": {}}, True),
        ({"function": {"name": "a", "arguments": "{}"}}, True),
        ({"toolName": "a", "input": {}}, True),
        ({"name": "a"}, False),
        ({"name": 1, "args": {}}, False),
        ("a", False),
    ],
)
def test_a_call_of_a_tool_has_a_name_and_arguments(value: Any, expected: bool) -> None:
    """Whatever they are called."""
    assert recognition.is_tool_call(value) is expected
    assert recognition.is_blocks([value]) is expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([{"city": "Oslo"}, {"city": "Lima"}], True),
        ([{"city": "Oslo"}, "Lima"], False),
        ({"toolName": "x"}, False),
        ("Oslo", False),
    ],
)
def test_data_is_what_nothing_in_is_named_as_traffic_is(value: Any, expected: bool) -> None:
    """An answer in JSON is the model's own text; a writer's structure that nobody knows is not."""
    assert recognition.is_data(value) is expected
