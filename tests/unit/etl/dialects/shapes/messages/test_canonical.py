"""Messages keep what was on the wire, whatever shape they were recorded in."""

import json
from typing import Any

from etl.dialects.shapes.messages.canonical import UNREAD, canonical_input, canonical_output, join_answers, join_turns
from tests.recordings import run
from tests.spans import logs_frame, span, spans_frame

BLOCKS = '[{"type":"text","text":"inner"}]'


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


def test_what_is_no_message_marks_the_one_before_it() -> None:
    """It is not left out in silence; a reasoning item of the provider's own is."""
    messages = canonical_input([{"role": "user", "content": "a"}, {"type": "reasoning"}, {"type": "hologram"}])

    assert messages == [{"role": "user", "text": "a", UNREAD: True}]


def test_results_stand_before_the_words_they_came_with() -> None:
    """Anthropic's results are blocks of the user's message; an error stays one."""
    blocks = [
        {"type": "tool_result", "tool_use_id": "c1", "content": "no stock", "is_error": True},
        {"type": "text", "text": "And now?"},
    ]

    assert canonical_input([{"role": "user", "content": blocks}]) == [
        {"role": "tool", "text": "no stock", "tool_call_id": "c1", "is_error": True},
        {"role": "user", "text": "And now?"},
    ]


def test_items_of_one_answer_are_one_answer() -> None:
    """Of the Responses API; so are the items of one turn in a request."""
    first, second = canonical_output(
        [
            {"role": "assistant", "content": "Let me look."},
            {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "look", "arguments": "{}"}}]},
        ],
        [None, "tool_calls"],
    )
    call = {"id": "c", "name": "look", "arguments": {}}

    assert join_answers([first, second]) == [
        {
            "role": "assistant", "text": "Let me look.", "tool_calls": [call], "refusal": None,
            "finish_reason": "tool_calls",
        }
    ]  # fmt: skip
    assert join_turns(
        [{"role": "assistant", "text": "a"}, {"role": "assistant", "text": None, "tool_calls": [call]}]
    ) == [{"role": "assistant", "text": "a", "tool_calls": [call]}]


def test_a_turn_that_holds_calls_and_their_results_is_taken_apart() -> None:
    """Agents that keep a run as one message send it as several: AgentScope 2, the AI SDK's messages of its pages."""
    call: dict[str, Any] = {"type": "tool_call", "id": "1", "name": "look", "arguments": {"q": "a"}}
    result: dict[str, Any] = {"type": "tool_call_response", "id": "1", "response": "42"}
    parts = [{"type": "text", "content": "I look."}, call, result, {"type": "text", "content": "It is 42."}]

    messages = canonical_input([{"role": "assistant", "name": "friend", "parts": parts}])

    asked = [{"id": "1", "name": "look", "arguments": {"q": "a"}}]
    assert messages == [
        {"role": "assistant", "text": "I look.", "tool_calls": asked},
        {"role": "tool", "text": "42", "tool_call_id": "1"},
        {"role": "assistant", "text": "It is 42."},
    ]
