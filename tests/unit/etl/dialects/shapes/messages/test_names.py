"""What blocks of content are called."""

import pytest

from etl.dialects.shapes.messages.names import block_kind, content_of, is_block, role_of, visible


@pytest.mark.parametrize(
    ("value", "is_one"),
    [
        ({"type": "text", "text": "a"}, True),
        ({"text": "a"}, True),
        ({"text": "a", "score": 1}, False),
        ({"type": "text"}, False),
        ({"type": "image_url", "image_url": {}}, True),
        ({"functionCall": {"name": "look"}}, True),
        ({"type": "invoice", "total": 3}, False),
        ("text", False),
    ],
)
def test_data_is_no_block(value: object, is_one: bool) -> None:
    """Only what has a known type, or the one key that says what it is."""
    assert is_block(value) is is_one


def test_only_json_of_blocks_is_taken_apart() -> None:
    """A text that looks like JSON is a text; blocks may stand in a list of one text."""
    block = {"type": "text", "text": "84"}

    assert content_of('[{"type": "text", "text": "84"}]') == [block]
    assert content_of('["[{\\"type\\": \\"text\\", \\"text\\": \\"84\\"}]"]') == [block]
    for text in ('{"city": "Oslo"}', "[1, 2]", '[{"type": "text", "te', "plain"):
        assert content_of(text) == text


def test_names_are_read_however_they_are_spelled() -> None:
    """In small letters and without separators; what was hidden is not there."""
    assert [block_kind(name) for name in ("Tool-Use", "functionCallOutput", "thinking", "audio")] == [
        "call", "result", "reasoning", None,
    ]  # fmt: skip
    assert [role_of(name) for name in ("AI", "developer", "human", "tool-response")] == [
        "assistant", "system", "user", "user",
    ]  # fmt: skip
    assert [visible(text) for text in ("a", "", "<redacted>", 3)] == ["a", "", None, None]
