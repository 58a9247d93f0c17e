"""What a model API answered, put together as one object where it came as a stream. Standard library only.

Shapes, not vendors: events that carry `choices` with deltas (OpenAI's chat completions and completions and all who
copy them), a `response` (OpenAI's Responses), `content_block` deltas (Anthropic's messages), `candidates` (Gemini).
A stream that was left early gives what had come.
"""

import json
from collections.abc import Iterator
from typing import Any

Object = dict[str, Any]


def read_answer(body: bytes) -> "Object | None":
    """Return the answer in a body: a JSON object, or one made of server-sent events or JSON lines; None for neither."""
    text = body.decode("utf-8", "replace")
    try:
        whole = json.loads(text)
    except ValueError:
        events = list(_events(text))
        return _assemble(events) if events else None
    if isinstance(whole, list):
        return _assemble([event for event in whole if isinstance(event, dict)])
    return whole if isinstance(whole, dict) else None


def is_finished(answer: Object) -> bool:
    """Say whether an answer tells that it came to its end, in any of the shapes above."""
    pieces = [answer, *(answer.get("choices") or ()), *(answer.get("candidates") or ())]
    ends = ("finish_reason", "finishReason", "stop_reason")
    return answer.get("status") in {"completed", "incomplete", "failed"} or any(
        piece.get(name) is not None for piece in pieces if isinstance(piece, dict) for name in ends
    )


def _events(text: str) -> Iterator[Object]:
    """Yield the objects of server-sent events (WHATWG HTML, 9.2.6), or of JSON lines."""
    data: list[str] = []
    for line in [*text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), ""]:
        if line.startswith("data:"):
            data.append(line[5:].removeprefix(" "))
        elif line.startswith("{"):
            data.append(line)
        if (not line or line.startswith("{")) and data:
            try:
                event = json.loads("\n".join(data))
            except ValueError:  # [DONE], or the half of an event
                event = None
            data = []
            if isinstance(event, dict):
                yield event


def _assemble(events: "list[Object]") -> "Object | None":
    answer: Object = {}
    blocks: dict[Any, Object] = {}
    items: dict[Any, Object] = {}
    for event in events:
        if isinstance(event.get("response"), dict):
            answer.update(event["response"])
        elif "choices" in event:
            _merge_choices(answer, event)
        elif "candidates" in event or "usageMetadata" in event:
            _merge_candidates(answer, event)
        elif isinstance(event.get("message"), dict) and event.get("type") == "message_start":
            answer.update(event["message"])
        elif event.get("type") == "message_delta":
            answer.update(event.get("delta") or {})
            answer["usage"] = {**(answer.get("usage") or {}), **(event.get("usage") or {})}
        elif "content_block" in event:
            blocks[event.get("index")] = dict(event["content_block"] or {})
        elif event.get("type") == "content_block_delta":
            _merge_block(blocks.setdefault(event.get("index"), {}), event.get("delta") or {})
        elif isinstance(event.get("item"), dict):
            items[event.get("output_index")] = event["item"]
        elif "error" in event:
            answer["error"] = event["error"]
    if blocks:
        answer["content"] = [_finished(block) for _, block in sorted(blocks.items(), key=lambda pair: str(pair[0]))]
    if items and not answer.get("output"):
        answer["output"] = [item for _, item in sorted(items.items(), key=lambda pair: str(pair[0]))]
    return answer or None


def _merge_choices(answer: Object, event: Object) -> None:
    """Add a chunk of a chat completion or completion: texts and arguments are appended, the rest is kept."""
    for key, value in event.items():
        if key != "choices" and value is not None:
            answer[key] = value
    if str(answer.get("object", "")).endswith(".chunk"):
        answer["object"] = answer["object"].removesuffix(".chunk")
    choices = answer.setdefault("choices", [])
    for piece in event["choices"] or ():
        index = piece.get("index", 0)
        choice = next((one for one in choices if one.get("index") == index), None)
        if choice is None:
            choice = {"index": index}
            choices.append(choice)
        for key, value in piece.items():
            if key == "delta":
                _merge_delta(choice.setdefault("message", {}), value or {})
            elif key == "text":
                choice["text"] = choice.get("text", "") + (value or "")
            elif key == "logprobs" and isinstance(value, dict):
                known = choice.get("logprobs") or {}
                choice["logprobs"] = known | {
                    name: (known.get(name) or []) + more for name, more in value.items() if isinstance(more, list)
                }
            elif key == "token_ids" and isinstance(value, list):
                choice["token_ids"] = (choice.get("token_ids") or []) + value
            elif value is not None:
                choice[key] = value


def _merge_delta(message: Object, delta: Object) -> None:
    for key, value in delta.items():
        if value is None:
            continue
        if key == "tool_calls" and isinstance(value, list):
            calls = message.setdefault("tool_calls", [])
            for piece in value:
                index = piece.get("index", len(calls) - 1 if calls and not piece.get("id") else len(calls))
                while len(calls) <= index:
                    calls.append({})
                _merge_delta(calls[index], {name: part for name, part in piece.items() if name != "index"})
        elif isinstance(value, dict):
            _merge_delta(message.setdefault(key, {}), value)
        elif isinstance(value, str) and key not in {"role", "id", "type", "name"}:
            message[key] = message.get(key, "") + value
        elif isinstance(value, list):
            message[key] = [*message.get(key, []), *value]
        elif value != "" or key not in message:
            message[key] = value


def _merge_block(block: Object, delta: Object) -> None:
    """Add a delta of a content block of Anthropic's: text, thinking, signature, or a piece of a tool's input."""
    for key, value in delta.items():
        if key == "type":
            block.setdefault("type", {"text_delta": "text", "thinking_delta": "thinking"}.get(value, "tool_use"))
        elif key == "citation":
            block.setdefault("citations", []).append(value)
        elif isinstance(value, str):
            block[key] = (block.get(key) or "") + value
        else:
            block[key] = value


def _finished(block: Object) -> Object:
    written = block.pop("partial_json", "")
    if written:
        try:
            block["input"] = json.loads(written)
        except ValueError:  # the stream was left in the middle of it
            block["input"] = written
    return block


def _merge_candidates(answer: Object, event: Object) -> None:
    """Add a chunk of Gemini's: parts follow each other, texts of one kind in a row are one text."""
    for key, value in event.items():
        if key != "candidates":
            answer[key] = value
    candidates = answer.setdefault("candidates", [])
    for place, piece in enumerate(event.get("candidates") or ()):
        index = piece.get("index", place)
        while len(candidates) <= index:
            candidates.append({"content": {"parts": []}})
        candidate = candidates[index]
        content = piece.get("content") or {}
        parts = candidate["content"].setdefault("parts", [])
        for part in content.get("parts") or ():
            if set(part) <= {"text", "thought"} and parts and set(parts[-1]) == set(part) and "text" in part:
                parts[-1] = {**part, "text": parts[-1]["text"] + part["text"]}
            else:
                parts.append(part)
        candidate["content"].update({key: value for key, value in content.items() if key != "parts"})
        candidate.update({key: value for key, value in piece.items() if key != "content"})
