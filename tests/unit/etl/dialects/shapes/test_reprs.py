"""What Python printed of a client's object is read, and nothing is run."""

import pytest

from etl.dialects.shapes.reprs import read_fields, read_repr


def test_an_object_and_those_within_it_are_their_fields() -> None:
    """Lists, dictionaries, negative numbers; what is an expression of another kind has no value."""
    text = "Answer(id='a', n=-2, parts=[Part(text='it\\'s'), Part(text=None)], more={'k': (1, 2)}, at=datetime.now)"

    assert read_repr(text) == {
        "id": "a",
        "n": -2,
        "parts": [{"text": "it's"}, {"text": None}],
        "more": {"k": [1, 2]},
        "at": None,
    }


@pytest.mark.parametrize("text", ["", "plain", "answer(a=1)", "Answer(a=", "Answer(" * 500, None, 5, "lambda: 1"])
def test_what_is_no_object_is_none(text: object) -> None:
    """Torn, nested without end, or words that merely look like one."""
    assert read_repr(text) is None
    assert read_fields(text) is None


def test_fields_without_a_class_are_told_apart_by_blanks_outside_of_texts() -> None:
    """As Pydantic prints a message."""
    text = "content='a b (c' role='tool' tool_call_id=\"x'y\" items=[Item(a=1, b='] ')]"

    assert read_fields(text) == {
        "content": "a b (c",
        "role": "tool",
        "tool_call_id": "x'y",
        "items": [{"a": 1, "b": "] "}],
    }
