"""Gemini's API, spelled as on the wire and as Google's clients spell it."""

import json
from typing import Any

import pytest

from etl.dialects.shapes.gemini import read_history, read_request, read_response

SCHEMA = {"type": "OBJECT", "properties": {"n": {"type": "ARRAY", "items": {"type": "STRING"}}}}


@pytest.mark.parametrize("snake", [True, False])
def test_both_spellings_are_one(snake: bool) -> None:
    """Instructions first, roles as everybody's, types of parameters as JSON Schema has them."""
    name = "system_instruction" if snake else "systemInstruction"
    config = "generation_config" if snake else "generationConfig"
    declarations = "function_declarations" if snake else "functionDeclarations"
    body = {
        "model": "gemini-2.5-flash",
        name: {"parts": [{"text": "Be brief."}]},
        "contents": [{"role": "user", "parts": [{"text": "2+2?"}]}, {"role": "model", "parts": [{"text": "4"}]}],
        config: {"temperature": 0.5, "maxOutputTokens": 9, "stopSequences": ["."]},
        "tools": [{declarations: [{"name": "f", "description": "F.", "parameters": SCHEMA}]}],
    }

    request = read_request(json.dumps(body))

    assert request is not None
    assert [(one["role"], one["text"]) for one in request.input or ()] == [
        ("system", "Be brief."),
        ("user", "2+2?"),
        ("assistant", "4"),
    ]
    assert request.params == {"temperature": 0.5, "max_output_tokens": 9, "stop": ["."]}
    assert request.tools is not None
    assert request.tools[0]["parameters"]["properties"]["n"] == {"type": "array", "items": {"type": "string"}}


def test_every_candidate_is_a_choice_with_its_reason() -> None:
    """And thoughts are counted apart."""
    usage = {"promptTokenCount": 3, "candidatesTokenCount": 4, "thoughtsTokenCount": 1}
    candidates = [
        {"content": {"role": "model", "parts": [{"text": text}]}, "finishReason": reason}
        for text, reason in (("a", "STOP"), ("b", "MAX_TOKENS"))
    ]

    response = read_response({"candidates": candidates, "responseId": "r", "modelVersion": "m", "usageMetadata": usage})

    assert response is not None
    assert [(one["text"], one["finish_reason"]) for one in response.output or ()] == [
        ("a", "STOP"),
        ("b", "MAX_TOKENS"),
    ]
    assert (response.response_id, response.model) == ("r", "m")
    assert response.usage is not None
    assert (response.usage["output_tokens"], response.usage["reasoning_tokens"]) == (4, 1)


def test_what_the_client_asked_by_itself_is_in_the_history() -> None:
    """The last request holds the calls it made and what they returned."""
    history = [
        {"role": "user", "parts": [{"text": "2+2?"}]},
        {"role": "model", "parts": [{"functionCall": {"name": "add", "args": {"x": 2}}}]},
    ]

    found = read_history({"automaticFunctionCallingHistory": history})

    assert found is not None
    assert [one["role"] for one in found] == ["user", "assistant"]
    assert found[1]["tool_calls"][0]["arguments"] == {"x": 2}


@pytest.mark.parametrize("value", [None, 5, "text", {}, {"contents": "2+2?"}, {"candidates": None}, []])
def test_anything_else_is_none_of_it(value: Any) -> None:
    """Another API's body, or a text."""
    assert read_request(value) is None
    assert read_response(value) is None
    assert read_history(value) is None
