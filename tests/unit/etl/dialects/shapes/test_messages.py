"""Messages keep what was on the wire: data that looks like blocks, and calls that look like one another."""

import json
from typing import Any

from etl.dialects.shapes.messages import canonical_input
from tests.recordings import run
from tests.spans import logs_frame, span, spans_frame

BLOCKS = '[{"type":"text","text":"inner"}]'


def result(content: Any) -> str | None:
    """Return the text of a tool's result with this content."""
    block = {"type": "tool_call_response", "id": "c1", "response": content}
    text: str | None = canonical_input([{"role": "tool", "parts": [block]}])[0]["text"]
    return text


def test_data_with_a_text_in_it_is_no_block_of_text() -> None:
    """Search results that have a text and a score lose neither."""
    assert result([{"text": "snow", "score": 1}]) == '[{"text":"snow","score":1}]'
    assert result([{"type": "text", "text": "snow"}, {"text": "ice"}]) == "snow\nice"


def test_the_ai_sdks_json_is_the_json_that_it_sends() -> None:
    """Also where it looks like blocks of content, and where data has a type and a text."""
    assert result({"type": "json", "value": [{"type": "text", "text": "inner"}]}) == BLOCKS
    assert result({"type": "text", "value": "84"}) == "84"
    assert result({"type": "alert", "text": "storm"}) == '{"type":"alert","text":"storm"}'


def test_calls_with_one_id_are_each_a_call() -> None:
    """Some servers give all calls of an answer the same id; a block repeated whole is one call."""
    calls = [
        {"id": "c", "type": "function", "function": {"name": "look", "arguments": json.dumps({"city": city})}}
        for city in ("Oslo", "Rome", "Rome")
    ]

    (message,) = canonical_input([{"role": "assistant", "content": None, "tool_calls": calls}])

    assert [call["arguments"]["city"] for call in message["tool_calls"]] == ["Oslo", "Rome"]


def action_and_result() -> list[str]:
    """Return the result of a tool and the answer of a call whose messages are events with a body of JSON."""
    asked = {"role": "assistant", "tool_calls": [{"id": "c1", "function": {"name": "look", "arguments": "{}"}}]}
    bodies: list[tuple[str, dict[str, Any]]] = [
        ("gen_ai.user.message", {"content": "Look."}),
        ("gen_ai.assistant.message", asked),
        ("gen_ai.tool.message", {"id": "c1", "content": BLOCKS}),
        ("gen_ai.choice", {"index": 0, "finish_reason": "stop", "message": {"content": '{"city": "Oslo"}'}}),
    ]
    events = [
        {"name": name, "time_ns": 1, "attributes": {"gen_ai.event.content": json.dumps(body)}} for name, body in bodies
    ]
    attributes = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}
    made = run(spans_frame([span("c", attributes=attributes, events=events)]), logs_frame()).tables["transitions"]
    return [json.loads(made["observation"][0])[-1]["text"], json.loads(made["action"][0])["text"]]


def test_a_text_within_json_is_a_text_whatever_it_looks_like() -> None:
    """The body of an event that is JSON has blocks as blocks."""
    assert action_and_result() == [BLOCKS, '{"city": "Oslo"}']
