"""What the form of an answer tells."""

from typing import Any

import pytest

from serve.api.form import CALL_MARKS, REFUSALS, fits

SCHEMAS: dict[str, Any] = {"add": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}}


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("add", '{"a": 1}', True),
        ("add", '{"a": "1"}', False),
        ("add", "", False),
        ("add", "[1]", False),
        ("add", '{"a": 1', False),
        ("go", '{"a": 1}', False),
    ],
)
def test_a_call_fits_what_was_offered_or_does_not(name: str, arguments: str, expected: bool) -> None:
    """By the tool's name and the schema of its arguments."""
    assert fits({"name": name, "arguments": arguments}, SCHEMAS) is expected


def test_refusals_and_unread_calls_are_known_by_how_they_begin() -> None:
    """A sentence about refusing is none, and text about tools is no call."""
    assert all(REFUSALS.match(text) for text in ("I can't do that.", "Sorry, but I cannot.", "As an AI, I"))
    assert not any(REFUSALS.match(text) for text in ("I can do that.", "He said: I can't.", ""))
    assert CALL_MARKS.search('first <tool_call>{"name": "add"}')
    assert not CALL_MARKS.search("the tool call failed")
