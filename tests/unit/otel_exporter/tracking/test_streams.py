"""Streams of every shape come out as the same API answers without one."""

import json
from typing import Any

import pytest

from otel_exporter.tracking.streams import is_finished, read_answer


def sse(*events: dict[str, Any], newline: str = "\n") -> bytes:
    """Write server-sent events."""
    return "".join(
        f"event: {event.get('type', 'message')}{newline}data: {json.dumps(event)}{newline}{newline}" for event in events
    ).encode()


def chunk(delta: dict[str, Any], index: int = 0, **more: Any) -> dict[str, Any]:
    return {"id": "c1", "object": "chat.completion.chunk", "choices": [{"index": index, "delta": delta, **more}]}


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_a_chat_completion(newline: str) -> None:
    """Texts and arguments are appended, choices and tool calls told apart by their index, usage kept."""
    body = sse(
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": "Hé"}),
        chunk({"role": "assistant", "content": "second"}, index=1),
        chunk({"content": "llo"}),
        chunk(
            {"tool_calls": [{"index": 0, "id": "t1", "type": "function", "function": {"name": "f", "arguments": ""}}]}
        ),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"a":'}}]}),
        chunk(
            {"tool_calls": [{"index": 1, "id": "t2", "type": "function", "function": {"name": "g", "arguments": "{}"}}]}
        ),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": " 1}"}}]}),
        chunk({}, finish_reason="tool_calls"),
        {"id": "c1", "object": "chat.completion.chunk", "choices": [], "usage": {"prompt_tokens": 3}},
        newline=newline,
    )

    answer = read_answer(body + b"data: [DONE]" + newline.encode() * 2)

    assert answer is not None
    assert answer["object"] == "chat.completion"
    assert answer["usage"] == {"prompt_tokens": 3}
    first, second = answer["choices"]
    assert first["message"] == {
        "role": "assistant",
        "content": "Héllo",
        "tool_calls": [
            {"id": "t1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}},
            {"id": "t2", "type": "function", "function": {"name": "g", "arguments": "{}"}},
        ],
    }
    assert first["finish_reason"] == "tool_calls"
    assert second["message"]["content"] == "second"


def test_log_probabilities_and_token_ids_are_appended() -> None:
    """What vLLM streams beside the text is evidence."""
    one = {"content": [{"token": "a", "logprob": -0.5}]}

    answer = read_answer(
        sse(
            chunk({"content": "a"}, logprobs=one, token_ids=[1]),
            chunk({"content": "a"}, logprobs=one, token_ids=[2, 3]),
        )
    )

    assert answer is not None
    assert answer["choices"][0]["logprobs"] == {"content": [*one["content"], *one["content"]]}
    assert answer["choices"][0]["token_ids"] == [1, 2, 3]


def test_a_plain_completion() -> None:
    """Texts of one choice follow each other."""
    answer = read_answer(sse({"choices": [{"index": 0, "text": "a"}]}, {"choices": [{"index": 0, "text": "b"}]}))

    assert answer == {"choices": [{"index": 0, "text": "ab"}]}


def test_the_responses_api() -> None:
    """The event that ends it holds everything; without it the items that were done do."""
    item = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "hi"}]}
    begun = {"type": "response.created", "response": {"id": "r1", "status": "in_progress", "output": []}}
    done = {"type": "response.output_item.done", "output_index": 0, "item": item}
    completed = {"type": "response.completed", "response": {"id": "r1", "status": "completed", "output": [item]}}

    assert read_answer(sse(begun, done, completed)) == completed["response"]
    assert read_answer(sse(begun, done)) == {"id": "r1", "status": "in_progress", "output": [item]}


def test_anthropics_messages() -> None:
    """Blocks by index, a tool's input parsed when it is whole, usage of both ends together."""
    body = sse(
        {
            "type": "message_start",
            "message": {"id": "m1", "role": "assistant", "content": [], "usage": {"input_tokens": 5}},
        },
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "let me "}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "look"}},
        {
            "type": "content_block_start",
            "index": 1,
            "content_block": {"type": "tool_use", "id": "t", "name": "f", "input": {}},
        },
        {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": '{"q": '}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": '"x"}'}},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 9}},
        {"type": "message_stop"},
    )

    answer = read_answer(body)

    assert answer == {
        "id": "m1",
        "role": "assistant",
        "content": [
            {"type": "text", "text": "let me look"},
            {"type": "tool_use", "id": "t", "name": "f", "input": {"q": "x"}},
        ],
        "stop_reason": "tool_use",
        "usage": {"input_tokens": 5, "output_tokens": 9},
    }


def test_geminis_chunks_as_events_and_as_one_array() -> None:
    """Texts in a row are one text, thoughts apart from them; other parts stay as they are."""

    def piece(*parts: dict[str, Any], **more: Any) -> dict[str, Any]:
        return {"candidates": [{"content": {"role": "model", "parts": list(parts)}, **more}]}

    chunks = [
        piece({"text": "think", "thought": True}),
        piece({"text": "Hel"}),
        piece({"text": "lo"}, {"functionCall": {"name": "f", "args": {}}}, finishReason="STOP"),
    ]

    answer = read_answer(sse(*chunks))

    assert answer == read_answer(json.dumps(chunks).encode())
    assert answer is not None
    assert answer["candidates"][0]["content"]["parts"] == [
        {"text": "think", "thought": True},
        {"text": "Hello"},
        {"functionCall": {"name": "f", "args": {}}},
    ]
    assert is_finished(answer)


def test_a_stream_left_early_gives_what_came() -> None:
    """Half an event is no event, and an answer without an end says that it has none."""
    answer = read_answer(sse(chunk({"content": "a"})) + b'data: {"id": "c1", "choi')

    assert answer is not None
    assert answer["choices"][0]["message"]["content"] == "a"
    assert not is_finished(answer)


@pytest.mark.parametrize("body", [b"", b"<html>", b"data: [DONE]\n\n", b"3", b"\xff\xfe"])
def test_what_is_no_answer_is_none(body: bytes) -> None:
    """Whatever came, nothing is raised."""
    assert read_answer(body) is None
