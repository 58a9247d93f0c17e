"""Puts the pieces of a streamed answer together, as a proxy or a recorder that only listens keeps them.

They come as the text of server-sent events, as lines of JSON, as a list, or as an event of the span each.
"""

from collections.abc import Sequence
from typing import Any

from etl.dialects.shapes import client_dump
from etl.dialects.shapes.json_values import decode
from etl.dialects.shapes.messages.names import first

BLOCK_EVENTS = frozenset(
    ("message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta")
)
"""Types of the pieces of Anthropic's streams: https://docs.anthropic.com/en/api/messages-streaming."""

ENDS = frozenset(("response.completed", "response.incomplete", "response.failed"))
"""Types of the pieces of the Responses API's streams that hold the whole answer."""

DELTAS = {
    "text_delta": ("text", "text"),
    "thinking_delta": ("thinking", "thinking"),
    "input_json_delta": ("partial_json", "input"),
}
"""By the type of a piece of one of Anthropic's blocks: the key it has, and the key of the block that it goes on."""


def events_of(text: str) -> list[Any] | None:
    r"""Return the JSON of server-sent events, or of several lines of it; None where the text is neither.

    >>> events_of('event: a\ndata: {"b": 1}\n\ndata: [DONE]\n\n'), events_of('{"b": 1}\n{"b": 2}'), events_of("data: x")
    ([{'b': 1}], [{'b': 1}, {'b': 2}], None)
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if text.lstrip().startswith(("data:", "event:", "id:")):
        lines = [line.removeprefix("data:").strip() for line in lines if line.startswith("data:")]
        lines = [line for line in lines if line != "[DONE]"]
    elif len(lines) < 2 or not all(line.startswith("{") and line.endswith("}") for line in lines):
        return None
    values = [decode(line) for line in lines]
    return values if values and all(isinstance(value, dict) for value in values) else None


def is_piece(value: Any) -> bool:  # noqa: ANN401 - any JSON value
    """Tell whether this is one piece of a streamed answer.

    >>> is_piece({"choices": [{"delta": {"content": "a"}}]}), is_piece({"choices": [{"message": {"content": "a"}}]})
    (True, False)
    """
    if not isinstance(value, dict):
        return False
    if isinstance(value.get("candidates"), list):
        return not _has_ended(value)
    choices, name = value.get("choices"), value.get("type")
    if isinstance(choices, list):
        is_last = not choices and value.get("object") == "chat.completion.chunk"
        return is_last or (
            bool(choices) and all(isinstance(c, dict) and isinstance(c.get("delta"), dict) for c in choices)
        )
    is_part = isinstance(name, str) and (name in BLOCK_EVENTS or name.startswith("response."))
    return is_part and not {"message", "delta", "content_block", "index", "response", "item", "part"}.isdisjoint(value)


def are_pieces(values: Sequence[Any]) -> bool:
    """Tell whether these are the pieces of one answer; the last of Gemini's is like a whole answer.

    >>> are_pieces([{"candidates": []}, {"candidates": [{"finishReason": "STOP"}]}]), are_pieces([{"candidates": []}])
    (True, False)
    """
    return len(values) > 1 and (is_piece(values[-1]) or _has_ended(values[-1])) and all(map(is_piece, values[:-1]))


def _has_ended(value: Any) -> bool:  # noqa: ANN401 - any JSON value
    candidates = value.get("candidates") if isinstance(value, dict) else None
    reasons = (
        first(one, "finish_reason", "finishReason") for one in candidates or () if isinstance(one, dict)
    )  # of the wire, and as `plain` spells it
    return isinstance(candidates, list) and any(reasons)


def put_together(pieces: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the answer that pieces are of, as it would have been whole; nothing where what they are is not known."""
    if all("choices" in piece for piece in pieces):
        return client_dump.assemble(pieces)
    if all("candidates" in piece for piece in pieces):
        return _of_candidates(pieces)
    names = {str(piece.get("type")) for piece in pieces}
    if names <= BLOCK_EVENTS:
        return _of_blocks(pieces)
    ended = [piece["response"] for piece in pieces if piece.get("type") in ENDS]
    return ended[0] if len(ended) == 1 and isinstance(ended[0], dict) else {}


def _of_candidates(pieces: Sequence[dict[str, Any]]) -> dict[str, Any]:
    contents: dict[int, list[Any]] = {}
    ends: dict[int, dict[str, Any]] = {}
    for piece in pieces:
        for candidate in piece["candidates"]:
            index = candidate.get("index") or 0
            ends[index] = candidate
            for part in (candidate.get("content") or {}).get("parts") or ():
                parts = contents.setdefault(index, [])
                last = parts[-1] if parts else {}
                if "text" in part and "text" in last and part.get("thought") == last.get("thought"):
                    parts[-1] = {**last, "text": last["text"] + part["text"]}
                else:
                    parts.append(part)
    candidates = [
        {**end, "content": {"role": "model", "parts": contents.get(index, [])}} for index, end in sorted(ends.items())
    ]
    return {**pieces[-1], "candidates": candidates}


def _of_blocks(pieces: Sequence[dict[str, Any]]) -> dict[str, Any]:
    message: dict[str, Any] = {}
    blocks: dict[int, dict[str, Any]] = {}
    for piece in pieces:
        delta = piece.get("delta") or {}
        match piece["type"]:
            case "message_start":
                message = dict(piece.get("message") or {})
            case "content_block_start":
                blocks[piece["index"]] = {**(piece.get("content_block") or {}), "pieces": []}
            case "content_block_delta" if delta.get("type") in DELTAS and piece.get("index") in blocks:
                key, target = DELTAS[delta["type"]]
                blocks[piece["index"]]["pieces"].append((target, delta.get(key) or ""))
            case "message_delta":
                message["stop_reason"] = delta.get("stop_reason")
                message["usage"] = {**(message.get("usage") or {}), **(piece.get("usage") or {})}
    content = []
    for _, block in sorted(blocks.items()):
        parts = block.pop("pieces")
        for target in {target for target, _ in parts}:
            text = "".join(part for name, part in parts if name == target)
            block[target] = decode(text) if target == "input" else f"{block.get(target) or ''}{text}"
        content.append(block)
    return {**message, "role": "assistant", "content": content, "stop_reason": message.get("stop_reason")}
