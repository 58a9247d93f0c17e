"""What tools are given and give back, as it was on the wire."""

import pytest

from etl.dialects.shapes.messages.tools import are_several, call_arguments, definitions, result_text, unpacked

BLOCKS = '[{"type":"text","text":"inner"}]'


def test_data_with_a_text_in_it_is_no_block_of_text() -> None:
    """Search results that have a text and a score lose neither."""
    assert result_text([{"text": "snow", "score": 1}]) == '[{"text":"snow","score":1}]'
    assert result_text([{"type": "text", "text": "snow"}, {"text": "ice"}]) == "snow\nice"


def test_the_ai_sdks_json_is_the_json_that_it_sends() -> None:
    """Also where it looks like blocks of content, and where data has a type and a text."""
    assert unpacked({"type": "json", "value": [{"type": "text", "text": "inner"}]}) == BLOCKS
    assert unpacked({"type": "text", "value": "84"}) == "84"
    assert result_text(unpacked({"type": "alert", "text": "storm"})) == '{"type":"alert","text":"storm"}'


@pytest.mark.parametrize(
    ("recorded", "read"),
    [
        ('{"a": 1}', {"a": 1}),
        (['{"a": 1}'], {"a": 1}),
        ("", None),
        ("<redacted>", None),
        ('{"a": 123456789012345678901234567890}', '{"a": 123456789012345678901234567890}'),
        ("a=1", "a=1"),
    ],
)
def test_arguments_are_an_object_where_they_are_one(recorded: object, read: object) -> None:
    """In a list, hidden, with a number no float holds, or no JSON at all."""
    assert call_arguments(recorded) == read


def test_arguments_of_several_calls_are_no_arguments() -> None:
    """A recorder ran the pieces of a stream together; what is cut is not that."""
    assert [are_several(text) for text in ('{"a":1} {"b":2}', '{"a":"}{"}', '{"a":1}{', None)] == [
        True,
        False,
        False,
        False,
    ]


def test_tools_are_read_in_any_providers_shape() -> None:
    """Bedrock's box around a schema, Gemini's list within a list; what has no name is no tool."""
    schema = {"type": "object"}
    tool = {"name": "look", "description": None, "parameters": schema}

    assert definitions([{"toolSpec": {"name": "look", "inputSchema": {"json": schema}}}]) == [tool]
    assert definitions([{"functionDeclarations": [{"name": "look", "parameters": schema}]}]) == [tool]
    assert definitions([{"description": "nameless"}]) is None
