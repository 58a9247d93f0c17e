"""What a limit cut is told from what somebody wrote."""

import json

import pytest

from etl.dialects.limits import is_cut
from etl.dialects.spans import Span

LONG = json.dumps([{"role": "user", "content": "word " * 40}])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (LONG, False),
        (LONG[:-3], True),
        (LONG[:100], True),
        (LONG + " is what I sent. What is wrong with it?", False),
        ("word " * 30 + "... [truncated]", True),
        ("word " * 30 + "is what truncated means to me", False),
    ],
)
def test_json_that_breaks_off_is_cut_and_json_in_a_sentence_is_not(value: str, expected: bool) -> None:
    """A text may begin with JSON and go on."""
    span = Span(0, "p", "t", "s", None, "chat", 0, 1, "unset", None, "scope", None, {"input": value, "model": "m"})

    assert is_cut(span) is expected
