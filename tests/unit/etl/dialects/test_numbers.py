"""Numbers, halves of characters and boxes in recorded JSON are read as what they are."""

import json
from typing import Any

import pytest

from etl.settings import EtlConfig
from etl.transform import transform
from tests.spans import llm, logs_frame, spans_frame

WEI = "123456789012345678901234567890"
ODD = ["NaN", "Infinity", "-Infinity", WEI, "-" + WEI, "18446744073709551616", "0.12345678901234567890123"]
PLAIN = ["18446744073709551615", "-9223372036854775808", "0.1", "1764400001000000000", "1e300", "84"]


def observed(result: str, arguments: str = '{"q": 1}') -> list[dict[str, Any]]:
    """Return what a call was shown whose history holds a tool's arguments and result, both as JSON."""
    asked = f'{{"type": "tool_call", "id": "c", "name": "f", "arguments": {arguments}}}'
    given = f'{{"type": "tool_call_response", "id": "c", "response": {result}}}'
    recorded = (
        '[{"role": "user", "parts": [{"type": "text", "content": "?"}]},'
        f'{{"role": "assistant", "parts": [{asked}]}}, {{"role": "tool", "parts": [{given}]}}]'
    )
    call = llm("a", attributes={"gen_ai.input.messages": recorded})
    dataset = transform(spans_frame([call]), logs_frame(), EtlConfig(complete_after=0))
    messages: list[dict[str, Any]] = json.loads(dataset.tables["transitions"]["observation"][0])
    return messages


@pytest.mark.parametrize("number", ODD)
def test_a_number_that_no_double_holds_keeps_its_characters(number: str) -> None:
    """In results and in arguments, which then stay a text; a result is not taken for a box around its value."""
    messages = observed(f'{{"value": {number}}}', f'{{"value": {number}}}')

    assert messages[2]["text"] == f'{{"value": {number}}}'
    assert messages[1]["tool_calls"][0]["arguments"] == f'{{"value": {number}}}'


@pytest.mark.parametrize("number", PLAIN)
def test_a_number_that_json_holds_stays_one(number: str) -> None:
    """Nothing changes for those."""
    messages = observed(f'{{"value": {number}}}', f'{{"value": {number}}}')

    assert json.loads(messages[2]["text"]) == {"value": json.loads(number)}
    assert messages[1]["tool_calls"][0]["arguments"] == {"value": json.loads(number)}


@pytest.mark.parametrize("half", ["\\ud83d", "\\ude00", "\\ud83d\\ud83d"])
def test_half_an_emoji_is_one_unknown_character(half: str) -> None:
    """Each half; whole ones stay, and so does an escaped backslash before the letters."""
    assert observed(f'"ends {half}"')[2]["text"] == "ends " + "\ufffd" * (len(half) // 6)
    assert observed('"whole \\ud83d\\ude00 and \\\\ud83d"')[2]["text"] == "whole \U0001f600 and \\ud83d"
