"""A message in the making: its blocks sorted by what they are."""

import json
import re
from typing import Any

from etl.dialects.shapes.json_values import decode
from etl.dialects.shapes.media import media_part
from etl.dialects.shapes.messages.names import (
    ARGUMENTS,
    CALL_IDS,
    CALLED,
    MEDIA,
    NAMED_BLOCKS,
    NAMED_MEDIA,
    RESULT_IDS,
    block_kind,
    first,
    visible,
)
from etl.dialects.shapes.messages.tools import are_several, tool_call, unpacked

KNOWN = frozenset(
    ("role", "content", "parts", "tool_calls", "function_call", "tool_call_id", "text", "type", "id", "name")
)
"""Keys of a message that are read, or say nothing of tools."""

READ_ELSEWHERE = frozenset(
    (
        "toolcalls",
        "toolcallid",
        "toolcallids",
        "toolcallchunks",
        "invalidtoolcalls",
        "toolcallrequests",
        "toolexecutionrequests",
        "toolinvocations",
        "functioncall",
        "functioncalls",
        "tools",
        "tooluses",
        "blocks",
    )
)
"""Keys of messages that speak of tools and are read before, or repeat what is read."""

TOLD = frozenset(("function", "tool", "tool_name", "toolName", "function_name", "functionName"))
"""Keys of which a call of a tool has one, or its result."""

WRITTEN_CALLS = re.compile(r'\[\s*\{\s*"(?:id|type|index|function)"')


def _is_image(block: dict[str, Any]) -> bool:
    """Images come as image_url (OpenAI), image (Anthropic), input_image (Responses), or by modality (GenAI parts)."""
    kind = block.get("type")
    mime_type = first(block, "mime_type", "media_type", "mediaType", "mimeType", "contentType", "content_type") or ""
    return kind in {"image", "image_url", "input_image"} or block.get("modality") == "image" or "image/" in mime_type


class Draft:
    """A message in the making: its blocks sorted by what they are."""

    def __init__(self) -> None:
        self.text: list[str] = []
        self.reasoning: list[str] = []
        self.refusal: str | None = None
        self.calls: list[dict[str, Any]] = []
        self.results: list[tuple[Any, Any]] = []
        self.media: list[str] = []
        self.parts: list[dict[str, Any]] = []
        self.failed: set[str] = set()
        self.is_unread = False
        self.is_bare = False
        """A call has arguments as chat completions have them and no id, which these always have: a recorder put it
        together from a stream, and may have left out more."""

    def add(self, block: Any) -> None:  # noqa: ANN401
        """Take in one block of content."""
        if isinstance(block, str):
            self._add_text(block)
            return
        if not isinstance(block, dict):
            return
        name = block.get("type")
        kind = block_kind(name) if isinstance(name, str) else None
        named = (
            None if name is not None else next((key for key in NAMED_BLOCKS if isinstance(block.get(key), dict)), None)
        )
        if named is not None:
            self._add_named(named, block[named])
        elif kind == "call":
            self.add_call(block)
        elif kind == "result":
            self._add_result(block)
        elif kind == "reasoning":
            self._add_reasoning(block)
        elif kind == "refusal":
            self.refusal = visible(first(block, "refusal", "content"))
        elif name is None and isinstance(block.get("function"), dict):  # a call of the wire among the blocks
            self.add_call(block)
        elif name is None and block.get("thought") is True:  # Gemini's thoughts
            self._add_reasoning(block)
        elif name is None and isinstance(block.get("reasoning"), str):  # Genkit's
            self._add_reasoning({"text": block["reasoning"]})
        elif kind == "text" or (name is None and ("text" in block or "content" in block)):
            text = visible(first(block, "text", "content"))
            if text is not None:
                self._add_text(text)
        elif name is not None:
            self._add_medium(block, "image_url" if _is_image(block) else str(name))
            self.is_unread |= not (isinstance(name, str) and MEDIA.search(name)) and not _is_image(block)
        elif any(isinstance(block.get(key), dict) for key in NAMED_MEDIA):
            kind = next(key for key in NAMED_MEDIA if isinstance(block.get(key), dict))
            self._add_medium(block, "image_url" if _is_image(block[kind]) or kind == "image" else kind)
        elif block:
            self.is_unread = True

    def _add_text(self, text: str) -> None:
        self.text.append(text)
        self.parts.append({"type": "text", "text": text})

    def _add_medium(self, block: dict[str, Any], kind: str) -> None:
        self.media.append(kind)
        self.parts.append(media_part(block, kind))

    def _add_result(self, block: dict[str, Any]) -> None:
        inner = block.get("toolResult")
        block = inner if isinstance(inner, dict) else block
        identifier = first(block, *RESULT_IDS)
        self._note_failure(identifier, block)
        self.results.append((identifier, unpacked(first(block, "response", "result", "content", "output"))))

    def _add_named(self, name: str, block: dict[str, Any]) -> None:
        """Take in a block whose key says what it is: Bedrock's, Gemini's and Haystack's have no type."""
        kind = NAMED_BLOCKS[name]
        if kind == "call":
            self.add_call(block)
        elif kind == "reasoning":
            inner = block.get("reasoningText")
            self._add_reasoning(inner if isinstance(inner, dict) else block)
        elif name == "tool_call_result":
            self.results.append(((block.get("origin") or {}).get("id"), block.get("result")))
        else:
            value = first(block, "content", "response", "output", "result")
            if isinstance(value, dict):  # Gemini's results are objects; on the wire to others they are JSON text
                value = json.dumps(value, ensure_ascii=False)
            identifier = first(block, "toolUseId", "tool_use_id", "ref", "call_id", "id", "name")
            self._note_failure(identifier, block)
            self.results.append((identifier, value))

    def _note_failure(self, identifier: Any, result: dict[str, Any]) -> None:  # noqa: ANN401
        """Note a result that says of itself that it is an error, as Anthropic's and Bedrock's do."""
        if True in (result.get("is_error"), result.get("isError")) or result.get("status") == "error":
            self.failed.add(str(identifier))

    def add_call(self, block: dict[str, Any]) -> None:
        """Take in one tool call, in any provider's shape; LangChain has those of most providers twice."""
        inner = block.get("function")
        call = inner if isinstance(inner, dict) else block
        found = tool_call(
            first(block, *CALL_IDS),
            first(call, *CALLED),
            first(call, *ARGUMENTS),
        )
        self.is_unread |= found["name"] is None or first(call, *ARGUMENTS) is None or are_several(found["arguments"])
        self.is_bare |= call is inner and found["id"] is None and isinstance(call.get("arguments"), str)
        if found["id"] is None or found not in self.calls:  # some servers give all calls of an answer one id
            self.calls.append(found)

    def _add_reasoning(self, block: dict[str, Any]) -> None:
        content = first(block, "content", "thinking", "text", "summary")
        if isinstance(content, str) and content.startswith('[{"text"'):  # Traceloop keeps the summary's JSON
            content = decode(content)
        for piece in content if isinstance(content, list) else [content]:
            text = piece.get("text") if isinstance(piece, dict) else piece
            if isinstance(text, str) and text:
                self.reasoning.append(text)

    def joined_text(self) -> str | None:
        """Return the text, None when no block had any."""
        return "\n".join(self.text) if self.text else None


def _tells_of_tools(key: str, value: Any) -> bool:  # noqa: ANN401 - any JSON value
    """Tell whether a message holds calls or results of tools where nobody reads them."""
    name = "".join(filter(str.isalpha, key)).lower()
    if isinstance(value, dict) and name == "options":
        return any(_tells_of_tools(inner, item) for inner, item in value.items())
    if not isinstance(value, dict | list) or not value or name in READ_ELSEWHERE:
        return False
    are_calls = isinstance(value, list) and all(isinstance(one, dict) and not TOLD.isdisjoint(one) for one in value)
    return are_calls or "toolcall" in name or "toolresult" in name or "functioncall" in name


def _add_written_calls(draft: Draft, text: str) -> bool:
    """Take in calls of tools whose JSON, as chat completions have it, a writer put where an answer's words stand."""
    if WRITTEN_CALLS.match(text) is None or not isinstance(calls := decode(text), list):
        return False
    for call in calls:
        inner = call.get("function") if isinstance(call, dict) else None
        if not isinstance(inner, dict) or not isinstance(inner.get("arguments"), str) or not call.get("id"):
            return False
    for call in calls:
        draft.add_call(call)
    return True


def draft_of(item: dict[str, Any]) -> Draft:
    """Sort what one recorded message holds, of an answer or of a request."""
    draft = Draft()
    content = item["parts"] if "parts" in item else item.get("content")
    if isinstance(content, str):
        text = visible(content)
        if text is not None and not _add_written_calls(draft, text):
            draft.text.append(text)
    elif isinstance(content, list):
        for block in content:
            draft.add(block)
    elif isinstance(content, dict):
        draft.add(content)
    repeated = {call["id"] for call in draft.calls} - {None}  # LangChain keeps the provider's blocks beside its own
    for call in item.get("tool_calls") or ():
        if isinstance(call, dict) and (not repeated or call.get("id") not in repeated):
            draft.add_call(call)
    legacy = item.get("function_call")
    if isinstance(legacy, dict) and not draft.calls:
        draft.add_call(legacy)
    for image in item.get("images") or ():  # Ollama's, beside the words
        draft.add({"type": "image", "data": image})
    draft.is_unread |= any(_tells_of_tools(key, value) for key, value in item.items() if key not in KNOWN)
    refusal = item.get("refusal")
    if isinstance(refusal, str):
        draft.refusal = visible(refusal)
    reasoning = first(item, "reasoning_content", "reasoning")
    if isinstance(reasoning, str) and reasoning:
        draft.reasoning.append(reasoning)
    return draft
