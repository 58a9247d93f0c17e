"""What blocks of content, roles and ids are called, whoever wrote them, and what is a block at all."""

import re
from functools import lru_cache
from typing import Any

from etl.dialects.shapes.json_values import decode

HIDDEN = frozenset(("__REDACTED__", "<elided>", "<redacted>", "[REDACTED]", "[redacted]", "<REDACTED>", "REDACTED"))
"""What writers put in place of a value that they were told to hide: it is not recorded."""

OBJECT = re.compile(r"<[^<>]{1,200} at 0x[0-9a-fA-F]+>|\[object \w+\]")
"""What Python and JavaScript print of an object that nobody taught to print itself: a stream, a generator."""

ROLES = {
    "developer": "system",
    "function": "tool",
    "model": "assistant",
    "ai": "assistant",
    "human": "user",
    "bot": "assistant",
    "chatbot": "assistant",
    "end_user": "user",
    "tool_call": "assistant",
    "tool-call": "assistant",
    "tool-response": "user",
}

BLOCKS = {
    "text": "text",
    "inputtext": "text",
    "outputtext": "text",
    "refusaltext": "text",
    "reasoning": "reasoning",
    "thinking": "reasoning",
    "redactedthinking": "reasoning",
    "summarytext": "reasoning",
    "reasoningtext": "reasoning",
    "refusal": "refusal",
    "toolcall": "call",
    "tooluse": "call",
    "functioncall": "call",
    "function": "call",
    "servertoolcall": "call",
    "toolrequest": "call",
    "toolcallresponse": "result",
    "toolcallresult": "result",
    "toolresult": "result",
    "toolresponse": "result",
    "functioncalloutput": "result",
    "functioncallresult": "result",
    "functionresult": "result",
    "functionresponse": "result",
    "servertoolcallresponse": "result",
}
"""What a block of content is, by its type as it is spelled without separators and in small letters."""

CALL_BLOCKS = {"tool_call", "tool_use", "function_call", "tool-call", "server_tool_call"}

MEDIA = re.compile("image|audio|video|file|document|blob|uri|media|inline_?data|pdf", re.IGNORECASE)
"""Types of blocks that are no text; any other that is not known is marked as not understood."""

CALLED = ("name", "tool_name", "toolName", "function_name", "functionName", "function", "tool")
"""Keys under which the name of the tool that a call asks for stands."""

ARGUMENTS = ("arguments", "input", "args", "parameters", "tool_kwargs", "arguments_json")
"""Keys under which the arguments of a tool's call stand; without any of them, they were lost."""

CALL_IDS = ("call_id", "callId", "id", "toolCallId", "tool_call_id", "toolUseId", "tool_use_id", "ref")

RESULT_IDS = ("tool_use_id", "call_id", "callId", "toolCallId", "tool_call_id", "toolUseId", "id")
"""Keys under which tool calls and their results have the id that joins them."""

NAMED_MEDIA = ("inlineData", "inline_data", "fileData", "file_data", "image", "video", "document", "audio", "media")
"""Blocks of media without a type: Gemini's, Bedrock's and Genkit's."""

NAMED_BLOCKS = {
    "toolUse": "call",
    "function_call": "call",
    "functionCall": "call",
    "tool_call": "call",
    "toolResult": "result",
    "function_response": "result",
    "functionResponse": "result",
    "tool_call_result": "result",
    "tool_use": "call",
    "tool_result": "result",
    "toolRequest": "call",
    "tool_request": "call",
    "toolResponse": "result",
    "tool_response": "result",
    "reasoningContent": "reasoning",
}
"""Blocks without a type, by the one key that says what they are."""

LEAD = 32
"""Characters at the beginning of a text, white space among them, that show whether it is JSON of objects."""


@lru_cache(maxsize=512)
def block_kind(name: str) -> str | None:
    """Return what a block of this type is: text, reasoning, refusal, call or result; None for any other.

    >>> [block_kind(name) for name in ("input_text", "toolUse", "tool-result", "image_url")]
    ['text', 'call', 'result', None]
    """
    return BLOCKS.get("".join(filter(str.isalnum, name)).lower())


def role_of(value: Any) -> str:  # noqa: ANN401
    """Return the canonical role: system, user, assistant or tool.

    >>> role_of("developer"), role_of("user")
    ('system', 'user')
    """
    role = str(getattr(value, "value", value) or "").lower()
    return ROLES.get(role, role)


def visible(text: Any) -> str | None:  # noqa: ANN401
    """Return recorded text, or None when it was hidden, is no text, or an object's address in place of what it held.

    >>> visible("<redacted>"), visible("<openai.Stream object at 0x7f70>"), visible("<b>")
    (None, None, '<b>')
    """
    return text if isinstance(text, str) and text not in HIDDEN and not is_address(text) else None


def is_address(value: Any) -> bool:  # noqa: ANN401
    """Tell whether a value is what was printed of an object in its place: which it was, and nothing that it held.

    >>> is_address("<openai.Omit object at 0x7f70>"), is_address("at 0x7f70")
    (True, False)
    """
    return isinstance(value, str) and value[:1] in ("<", "[") and OBJECT.fullmatch(value) is not None


def first(mapping: dict[str, Any], *keys: str) -> Any:  # noqa: ANN401
    """Return the value of the first key that is there and not null."""
    for key in keys:
        value = mapping.get(key)
        if value is not None:
            return value
    return None


def is_text_block(value: Any) -> bool:  # noqa: ANN401 - any JSON value
    """Tell whether this is a block of text, not data that has a text among other things."""
    if not isinstance(value, dict) or not isinstance(value.get("text"), str):
        return False
    name = value.get("type")
    return block_kind(name) == "text" if isinstance(name, str) else len(value) == 1


def content_of(recorded: Any) -> Any:  # noqa: ANN401 - any attribute value
    """Return the content that an attribute of its own holds: blocks, where it is the JSON of some, else as it is.

    An attribute can hold a text alone, so a list of blocks comes as its JSON there; within JSON a text is a text.

    >>> content_of('[{"text": "84"}]'), content_of('[{"city": "Oslo"}]')
    ([{'text': '84'}], '[{"city": "Oslo"}]')
    """
    if not isinstance(recorded, str) or not recorded[:LEAD].lstrip().startswith(("[", "{")):
        return recorded
    if not "".join(recorded[:LEAD].split()).startswith(("[{", '{"', '["[{')):
        return recorded
    value = decode(recorded)
    if isinstance(value, dict) and not is_block(value):
        return recorded
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str):
        value = decode(value[0])
    blocks = value if isinstance(value, list) else [value]
    return blocks if blocks and all(is_block(block) for block in blocks) else recorded


def is_block(value: Any) -> bool:  # noqa: ANN401 - any JSON value
    """Tell whether this is a block of content: by its type, or by the one key that says what it is."""
    if not isinstance(value, dict):
        return False
    name = value.get("type")
    if isinstance(name, str):
        return len(value) > 1 and (block_kind(name) is not None or MEDIA.search(name) is not None)
    named = (key for key in (*NAMED_BLOCKS, *NAMED_MEDIA) if isinstance(value.get(key), dict))
    return (set(value) == {"text"} and isinstance(value["text"], str)) or (
        len(value) == 1 and next(named, None) is not None
    )
