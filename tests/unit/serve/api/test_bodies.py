"""Bodies as clients write them: read as far as they can be, and never deeper than anything needs."""

import pytest

from serve.api.bodies import MAX_DEPTH, MalformedRequest, read_object


def nested(depth: int, inner: str = "1") -> bytes:
    return ('{"a": ' + "[" * depth + inner + "]" * depth + "}").encode()


def test_what_no_request_needs_is_too_deep() -> None:
    """With and without half an emoji, which is read by another parser."""
    half = '"x\\ud83d"'
    assert read_object(nested(MAX_DEPTH - 2, half))

    for depth in (MAX_DEPTH, 100_000):
        for inner in ("1", half):
            with pytest.raises(MalformedRequest):
                read_object(nested(depth, inner))


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b'"a"', b'{"a": NaN}', b'{"a": NaN, "b": "\\ud83d"}', b"\xff"])
def test_what_is_no_object_is_refused_without_quoting_it(body: bytes) -> None:
    """The message is for the client; a body may hold a prompt."""
    with pytest.raises(MalformedRequest) as refused:
        read_object(body)
    assert "NaN" not in str(refused.value).replace("NaN is not JSON", "")


def test_half_an_emoji_becomes_the_mark_for_it_in_names_too() -> None:
    """JavaScript leaves it where it cuts a text."""
    assert read_object(b'{"\\ud83d": ["\\ud83d", 1, null]}') == {"\ufffd": ["\ufffd", 1, None]}
