from pathlib import Path
from typing import Any

import pytest

from serve.api.answers import Choice
from serve.evidence.decoding import Decoder, read_decoder
from tests.fakes import END, byte_tokenizer


@pytest.fixture
def decoder(tmp_path: Path) -> Decoder:
    byte_tokenizer(tmp_path)
    found = read_decoder(tmp_path, tmp_path.name)
    assert found is not None
    return found


def ids(decoder: Decoder, text: str) -> list[int]:
    return [*decoder._tokenizer.encode(text).ids, END]


CALL = '<tool_call>{"name": "add", "arguments": {"a": 1, "note": "x y"}}</tool_call>'


def call(**changes: Any) -> dict[str, Any]:
    return {"id": "c", "name": "add", "arguments": '{"note":"x y","a":1}', **changes}


@pytest.mark.parametrize(
    ("sampled", "choice", "expected"),
    [
        ("four", {"text": "four"}, True),
        ("four", {"text": "five"}, False),
        ("four\nand", {"text": "four", "finish_reason": "stop"}, True),  # a stop string
        ("four\nand", {"text": "four", "finish_reason": "length"}, False),
        ("Let me see. " + CALL, {"text": "Let me see.", "tool_calls": {0: call()}}, True),
        (CALL, {"tool_calls": {0: call(name="sub")}}, False),
        (CALL, {"tool_calls": {0: call(arguments='{"a":1,"note":"z"}')}}, False),
        (CALL, {"text": "something else", "tool_calls": {0: call()}}, False),
        ("", {"text": ""}, True),
    ],
)
def test_ids_are_compared_with_what_the_client_got(
    decoder: Decoder, sampled: str, choice: dict[str, Any], expected: bool
) -> None:
    """Whole text, text cut by a stop string, and what a tool parser made of it."""
    assert decoder.matches(Choice(token_ids=ids(decoder, sampled), **choice)) is expected


def test_half_a_character_says_nothing(decoder: Decoder) -> None:
    """Nor does an answer without ids."""
    assert decoder.matches(Choice(text="�", token_ids=ids(decoder, "é")[:1])) is None
    assert decoder.matches(Choice(text="a")) is None


def test_checkpoints_with_the_same_tokenizer_share_one(tmp_path: Path) -> None:
    """By digest, whatever the directory; a model without tokenizer.json has none."""
    for name in ("a", "b"):
        byte_tokenizer(tmp_path / name)

    assert read_decoder(tmp_path / "a", "same") is read_decoder(tmp_path / "b", "same")
    assert read_decoder(tmp_path / "b", "other") is not None
    assert read_decoder(tmp_path / "a", None) is None
