"""Pieces of a streamed answer are put together wherever a recorder keeps them."""

from typing import Any

import pytest

from etl.dialects.structure import streams
from etl.settings import EtlConfig
from etl.transform import transform
from tests.spans import START_NS, logs_frame, span, spans_frame
from tests.writers import text

Json = dict[str, Any]

ASKED = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Weather?"}], "stream": True}

CHAT: list[Json] = [
    {"id": "r1", "choices": [{"index": 0, "delta": {"role": "assistant", "content": "Let me "}}]},
    {"id": "r1", "choices": [{"index": 0, "delta": {"content": "look."}}]},
    {
        "id": "r1",
        "choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "id": "c1", "function": {"name": "f"}}]}}],
    },
    {"id": "r1", "choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"arguments": '{"a"'}}]}}]},
    {"id": "r1", "choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"arguments": ": 1}"}}]}}]},
    {"id": "r1", "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]},
    {"id": "r1", "object": "chat.completion.chunk", "choices": [], "usage": {"completion_tokens": 9}},
]

BLOCKS: list[Json] = [
    {"type": "message_start", "message": {"id": "r1", "model": "m", "content": [], "usage": {"input_tokens": 3}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Let me "}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "look."}},
    {"type": "content_block_stop", "index": 0},
    {
        "type": "content_block_start",
        "index": 1,
        "content_block": {"type": "tool_use", "id": "c1", "name": "f", "input": {}},
    },
    {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": '{"a"'}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": ": 1}"}},
    {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 9}},
]

ITEMS: list[Json] = [
    {"type": "response.created", "response": {"id": "r1", "object": "response", "status": "in_progress", "output": []}},
    {"type": "response.output_text.delta", "item_id": "i", "delta": "Let me "},
    {
        "type": "response.completed",
        "response": {
            "id": "r1",
            "object": "response",
            "status": "completed",
            "usage": {"input_tokens": 3, "output_tokens": 9},
            "output": [
                {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Let me look."}]},
                {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"a": 1}'},
            ],
        },
    },
]


PARTS: list[Json] = [
    {"candidates": [{"content": {"parts": [{"text": "Let me "}]}}], "usageMetadata": {"candidatesTokenCount": 2}},
    {"candidates": [{"content": {"parts": [{"text": "look."}]}}], "usageMetadata": {"candidatesTokenCount": 4}},
    {
        "candidates": [
            {
                "content": {"parts": [{"functionCall": {"id": "c1", "name": "f", "args": {"a": 1}}}]},
                "finishReason": "STOP",
            }
        ],
        "usageMetadata": {"candidatesTokenCount": 9},
        "responseId": "r1",
    },
]


def served(pieces: list[Json]) -> str:
    """Return pieces as a server sends them."""
    return "".join(f"event: x\ndata: {text(piece)}\n\n" for piece in pieces) + "data: [DONE]\n\n"


def recorded(pieces: list[Json], place: str) -> Json:
    """Return the span of a call whose answer stands there in pieces."""
    attributes: Json = {"http.request.body": text(ASKED)}
    events: list[Json] = []
    if place == "events":
        events = [{"name": "piece", "time_ns": START_NS, "attributes": {"data": text(piece)}} for piece in pieces]
    elif place == "list":
        attributes["http.response.body"] = text(pieces)
    elif place == "lines":
        attributes["http.response.body"] = "\n".join(map(text, pieces))
    else:
        attributes["http.response.body"] = served(pieces)
    return span("a", scope="capture", attributes=attributes, events=events)


@pytest.mark.parametrize("place", ["served", "lines", "list", "events"])
@pytest.mark.parametrize("pieces", [CHAT, BLOCKS, ITEMS, PARTS])
def test_an_answer_in_pieces_is_the_whole(pieces: list[Json], place: str) -> None:
    """Words, calls of tools, id and counts, by each of four APIs."""
    dataset = transform(spans_frame([recorded(pieces, place)]), logs_frame(), EtlConfig(complete_after=0))

    (row,) = dataset.tables["llm_calls"].iter_rows(named=True)
    assert '"text":"Let me look."' in row["output"]
    assert '"id":"c1","name":"f","arguments":{"a":1}' in row["output"]
    assert '"output_tokens":9' in row["usage"]
    assert (row["response_id"], row["streamed"]) == ("r1", True)
    assert dataset.tables["transitions"].height == 1


@pytest.mark.parametrize("pieces", [CHAT[:2], BLOCKS[:4], ITEMS[:2], PARTS[:2]])
def test_what_ends_before_its_end_is_no_transition(pieces: list[Json]) -> None:
    """The last pieces tell why it ended; who stopped listening has the beginning alone."""
    dataset = transform(spans_frame([recorded(pieces, "served")]), logs_frame(), EtlConfig(complete_after=0))

    assert dataset.tables["transitions"].height == 0
    assert dataset.tables["rejected"].height or dataset.counts["unread_scopes"]


def test_pieces_that_nobody_knows_are_no_answer() -> None:
    """Two APIs' in one stream, or none's."""
    assert streams.put_together([CHAT[0], BLOCKS[0]]) == {}
    assert not streams.is_piece({"choices": [{"message": {}}]})
    assert streams.events_of("data: hello") is None
