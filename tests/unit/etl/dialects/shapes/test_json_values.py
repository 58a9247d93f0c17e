"""JSON that strangers wrote is read as far as it can be written again, and is never another value than theirs."""

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.dialects.shapes.json_values import as_list, decode, exact, is_writable, loads, salvage_array, salvage_messages

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(VALUES)
def test_what_is_json_is_read_as_json_has_it(value: object) -> None:
    """Numbers and texts to the last digit, however it was written."""
    assert loads(json.dumps(value)) == value
    assert loads(json.dumps(value, ensure_ascii=False)) == value


@given(st.lists(st.dictionaries(st.text(max_size=5), VALUES, min_size=1, max_size=3), max_size=4), st.data())
def test_a_cut_array_gives_its_whole_objects_and_no_other(elements: list[object], data: st.DataObject) -> None:
    """Wherever it is cut: a prefix of what was there."""
    text = json.dumps(elements)
    found = salvage_array(text[: data.draw(st.integers(0, len(text) - 1))])

    assert found == elements[: len(found)]


def test_a_number_no_reader_keeps_stays_text() -> None:
    """Rounded, an amount would be another amount."""
    text = '{"wei": 123456789012345678901234567890, "share": 0.12345678901234567890123, "n": 1}'

    assert exact(loads(text)) == text
    assert exact(loads('{"n": 18446744073709551615}')) is None
    assert loads('{"a": NaN}') == {"a": "NaN"}


def test_half_a_surrogate_is_no_character() -> None:
    """JavaScript cuts texts in the middle of an emoji."""
    assert loads('"\\ud83d"') == "\ufffd"
    assert loads('"\\ud83d\\ude00"') == "\U0001f600"
    assert loads('"\\\\ud83d"') == "\\ud83d"


def test_what_is_too_deep_is_none() -> None:
    """It could not be written again, inside of others."""
    assert loads("[" * 100 + "]" * 100)
    with pytest.raises(orjson.JSONDecodeError):
        loads("[" * 240 + "]" * 240)
    assert not is_writable(json.loads("[" * 240 + "]" * 240))


def test_text_in_text_is_decoded_to_what_is_no_text() -> None:
    """And what is plain text, or nearly JSON, stays as it is."""
    assert decode(json.dumps(json.dumps({"a": [1]}))) == {"a": [1]}
    assert decode("{'a': None}") == {"a": None}
    for plain in ('"quoted"', "{x}", "[see above]", "", " ", "{1, 2}", 7):
        assert decode(plain) == plain
    assert as_list('["a"]') == ["a"]
    assert as_list('{"a": 1}') is None


def test_the_message_in_which_a_cut_lies_is_an_empty_one() -> None:
    """That there was one is known, and nothing of what it said."""
    text = '[{"role": "user", "content": "a"}, {"role": "assistant", "content": "b'

    assert salvage_messages(text) == [{"role": "user", "content": "a"}, {"role": "assistant"}]
    assert salvage_messages(text[:40]) == [{"role": "user", "content": "a"}]
