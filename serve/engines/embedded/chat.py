"""Conversations as prompts and answers as messages: what vLLM does around its engine, for the embedded one.

Messages are prepared for the chat template as vLLM prepares them, and tool calls are read in the Hermes format,
`<tool_call>{"name": …, "arguments": {…}}</tool_call>`, as vLLM's `--tool-call-parser hermes` reads them.
"""

import json
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from serve.sampling import UnsupportedParameter

TOOL_CALL_START = "<tool_call>"
TOOL_CALL_END = "</tool_call>"
TOOL_CALL = re.compile(r"<tool_call>(.*?)(?:</tool_call>|$)", re.DOTALL)


class BadConversation(UnsupportedParameter):
    """The messages cannot be made into a prompt; the message says why and quotes none of them."""


def prepare_messages(messages: object) -> list[dict[str, Any]]:
    """Return messages as chat templates expect them: text joined, tool arguments as objects, no null content."""
    if not isinstance(messages, list) or not messages:
        raise BadConversation("messages", "must be a list that is not empty")
    return [_prepare_message(index, message) for index, message in enumerate(messages)]


def _prepare_message(index: int, message: object) -> dict[str, Any]:
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise BadConversation(f"messages[{index}]", "is not an object with a role")
    prepared = {name: value for name, value in message.items() if value is not None}
    prepared["content"] = _text(index, message.get("content"))
    if calls := prepared.get("tool_calls"):
        prepared["tool_calls"] = [_prepare_call(index, call) for call in calls]
    else:
        prepared.pop("tool_calls", None)
    return prepared


def _text(index: int, content: object) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    texts = []
    for part in content if isinstance(content, list) else [content]:
        if not isinstance(part, dict) or not isinstance(part.get("text"), str):
            raise BadConversation(f"messages[{index}]", "has content that is not text")
        texts.append(part["text"])
    return "\n".join(texts)


def _prepare_call(index: int, call: object) -> dict[str, Any]:
    try:
        function = dict(call["function"])  # type: ignore[index]
        arguments = function.get("arguments")
        if isinstance(arguments, str):
            function["arguments"] = json.loads(arguments) if arguments else {}
        prepared: dict[str, Any] = {**call, "function": function}  # type: ignore[dict-item]
    except (TypeError, KeyError, ValueError) as error:
        raise BadConversation(f"messages[{index}]", "has a malformed tool call") from error
    return prepared


def encode_conversation(
    tokenizer: Any,  # noqa: ANN401
    messages: object,
    tools: Sequence[Any] | None,
    *,
    add_generation_prompt: bool = True,
    continue_final_message: bool = False,
    **template: Any,  # noqa: ANN401
) -> list[int]:
    """Return the prompt ids of a conversation, ready for the assistant's turn, or for the rest of its last message."""
    try:
        ids: list[int] = tokenizer.apply_chat_template(
            prepare_messages(messages),
            tools=list(tools) if tools else None,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=continue_final_message,
            tokenize=True,
            return_dict=False,
            **template,
        )
    except BadConversation:
        raise
    except Exception as error:  # the template is the model's own program and raises what it likes
        raise BadConversation(
            "messages", f"were refused by the model's chat template ({type(error).__name__})"
        ) from error
    return ids


@dataclass(frozen=True)
class ToolCall:
    """One call the model asked for."""

    name: str
    arguments: str
    """JSON text."""

    id: str = field(default_factory=lambda: f"call_{uuid.uuid4().hex[:24]}")

    def as_openai(self) -> dict[str, Any]:
        """Return the call as it stands in a message."""
        return {"id": self.id, "type": "function", "function": {"name": self.name, "arguments": self.arguments}}


def parse_tool_calls(text: str) -> tuple[str | None, list[ToolCall]]:
    """Split an answer into the text before the first tool call and the calls.

    When any call is malformed the whole answer is text: half of what a model meant is not what it meant.

    >>> content, calls = parse_tool_calls('Let me see.<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>')
    >>> content, calls[0].name, calls[0].arguments
    ('Let me see.', 'add', '{"a": 1}')
    >>> parse_tool_calls("<tool_call>{oops</tool_call>")
    ('<tool_call>{oops</tool_call>', [])
    """
    if TOOL_CALL_START not in text:
        return text, []
    try:
        calls = [_parse_call(json.loads(body)) for body in TOOL_CALL.findall(text)]
    except (ValueError, TypeError, KeyError):
        return text, []
    return text[: text.index(TOOL_CALL_START)] or None, calls


def _parse_call(call: Any) -> ToolCall:  # noqa: ANN401 - what the model wrote
    name = call["name"]
    if not isinstance(name, str):
        raise TypeError("a tool's name is a string")
    return ToolCall(name, json.dumps(call["arguments"], ensure_ascii=False))


class ToolCallStream:
    """Splits a growing answer into text that may be sent on at once and text that may still be a tool call."""

    def __init__(self) -> None:
        self._held = ""
        self._is_calling = False

    def add(self, text: str) -> str:
        """Take the next piece; return what is surely content."""
        self._held += text
        if self._is_calling:
            return ""
        start = self._held.find(TOOL_CALL_START)
        if start >= 0:
            self._is_calling = True
        else:
            start = len(self._held) - _partial_suffix(self._held, TOOL_CALL_START)
        content, self._held = self._held[:start], self._held[start:]
        return content

    def finish(self) -> tuple[str, list[ToolCall]]:
        """Return what was held back: the rest of the content, and the tool calls."""
        content, calls = parse_tool_calls(self._held)
        return content or "", calls


def _partial_suffix(text: str, tag: str) -> int:
    """Return the length of the longest end of the text that is a beginning of the tag.

    >>> _partial_suffix("see <tool", "<tool_call>")
    5
    """
    return next((size for size in range(min(len(tag) - 1, len(text)), 0, -1) if tag.startswith(text[-size:])), 0)
