"""Whatever shape a message was recorded in, the canonical one comes out. Text itself is never decoded."""

import json
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import orjson

from etl.dialects.shapes.json_values import as_list, decode, exact, loads
from etl.dialects.shapes.media import media_part
from etl.dialects.spans import Message

DECODER = json.JSONDecoder(strict=False)

HIDDEN = frozenset(("__REDACTED__", "<elided>", "<redacted>", "[REDACTED]", "[redacted]", "<REDACTED>", "REDACTED"))
"""What writers put in place of a value that they were told to hide: it is not recorded."""

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

UNREAD = "unread"
"""Key of a message in which there was something that nobody understood; `etl.dialects.reading` takes it out."""

ARGUMENTS = ("arguments", "input", "args", "parameters", "tool_kwargs")
"""Keys under which the arguments of a tool's call stand; without any of them, they were lost."""

CALL_IDS = ("call_id", "callId", "id", "toolCallId", "tool_call_id", "toolUseId", "tool_use_id", "ref")
RESULT_IDS = ("tool_use_id", "call_id", "callId", "toolCallId", "tool_call_id", "toolUseId", "id")
"""Keys under which tool calls and their results have the id that joins them."""

NAMED_MEDIA = ("inlineData", "inline_data", "fileData", "file_data", "image", "video", "document", "audio")
"""Blocks of media without a type: Gemini's and Bedrock's."""

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
    """Return recorded text, or None when it was hidden or is no text."""
    return text if isinstance(text, str) and text not in HIDDEN else None


def tool_call(identifier: Any, name: Any, arguments: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return a canonical tool call; arguments become JSON where they are an object, else stay the text they were."""
    return {
        "id": visible(identifier) or None,
        "name": visible(name) or None,
        "arguments": call_arguments(arguments),
    }


def call_arguments(value: Any) -> Any:  # noqa: ANN401
    """Return arguments as an object where they are one; None and an empty text mean that nothing was recorded."""
    if value is None or (isinstance(value, str) and (value == "" or value in HIDDEN)):
        return None
    decoded = decode(value)
    if isinstance(decoded, list) and len(decoded) == 1:  # a list around them; arguments are never one
        inner = decode(decoded[0])
        decoded = inner if isinstance(inner, dict) else decoded
    if not isinstance(decoded, dict | list):
        return value
    text = exact(decoded)
    return decoded if text is None else value if isinstance(value, str) else text


def _are_several(arguments: Any) -> bool:  # noqa: ANN401
    """Tell whether the arguments of several calls stand in one: a recorder ran the pieces of a stream together.

    >>> _are_several('{"a": 1}{"b": 2}'), _are_several('{"a": 1')
    (True, False)
    """
    if not isinstance(arguments, str) or "}{" not in arguments.replace(" ", ""):
        return False
    try:
        _, end = DECODER.raw_decode(arguments)
        DECODER.raw_decode(arguments, end + len(arguments[end:]) - len(arguments[end:].lstrip()))
    except (ValueError, RecursionError):
        return False
    return True


PARAMETERS = ("parameters", "input_schema", "inputSchema", "parameters_json_schema", "parametersJsonSchema")


def definition(value: Any) -> dict[str, Any] | None:  # noqa: ANN401
    """Return a tool definition as name, description and parameters, from any provider's shape."""
    value = decode(value)
    if not isinstance(value, dict):
        return None
    inner = first(value, "function", "toolSpec", "tool_spec")
    tool = inner if isinstance(inner, dict) else value
    name = tool.get("name")
    if not isinstance(name, str):
        return None
    parameters = next(
        (tool[key] for key in PARAMETERS if tool.get(key)),
        None,
    )
    parameters = decode(parameters)
    if isinstance(parameters, dict) and list(parameters) == ["json"]:  # Bedrock's box around a schema
        parameters = parameters["json"]
    return {"name": name, "description": tool.get("description") or None, "parameters": parameters}


def definitions(value: Any) -> list[dict[str, Any]] | None:  # noqa: ANN401
    """Return a list of tool definitions; None when there is nothing to read."""
    items = as_list(value)
    if items is None:
        return None
    found = []
    for item in items:
        item = decode(item)
        nested = first(item, "function_declarations", "functionDeclarations") if isinstance(item, dict) else None
        found += [definition(entry) for entry in (nested if isinstance(nested, list) else [item])]
    return [tool for tool in found if tool is not None] or None


def _is_image(block: dict[str, Any]) -> bool:
    """Images come as image_url (OpenAI), image (Anthropic), input_image (Responses), or by modality (GenAI parts)."""
    kind = block.get("type")
    mime_type = first(block, "mime_type", "media_type", "mediaType", "mimeType") or ""
    return kind in {"image", "image_url", "input_image"} or block.get("modality") == "image" or "image/" in mime_type


JSON_OUTPUTS = {"json", "error-json"}
OUTPUTS = {"text", "error-text", "content", *JSON_OUTPUTS}
"""Types of the AI SDK's boxes around a tool's output."""


def _unpacked(value: Any) -> Any:  # noqa: ANN401
    """Return what is in the AI SDK's box around a tool's output: {"type": "text", "value": "84"}."""
    if isinstance(value, dict) and value.get("type") in OUTPUTS and set(value) <= {"type", "value", "providerOptions"}:
        inner = value.get("value")
        is_data = value["type"] in JSON_OUTPUTS and isinstance(inner, dict | list)
        return (exact(inner) or orjson.dumps(inner).decode()) if is_data else inner
    if isinstance(value, dict) and set(value) == {"type", "text"} and block_kind(str(value["type"])) == "text":
        return value["text"]  # the Agents SDK's
    return value


class _Draft:
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
        if True in (block.get("is_error"), block.get("isError")):
            self.failed.add(str(identifier))
        self.results.append((identifier, _unpacked(first(block, "response", "result", "content", "output"))))

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
            self.results.append((first(block, "toolUseId", "tool_use_id", "ref", "call_id", "id", "name"), value))

    def add_call(self, block: dict[str, Any]) -> None:
        """Take in one tool call, in any provider's shape; LangChain has those of most providers twice."""
        inner = block.get("function")
        call = inner if isinstance(inner, dict) else block
        found = tool_call(
            first(block, *CALL_IDS),
            first(call, "name", "toolName", "tool_name"),
            first(call, *ARGUMENTS),
        )
        self.is_unread |= found["name"] is None or first(call, *ARGUMENTS) is None or _are_several(found["arguments"])
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


def first(mapping: dict[str, Any], *keys: str) -> Any:  # noqa: ANN401
    """Return the value of the first key that is there and not null."""
    for key in keys:
        value = mapping.get(key)
        if value is not None:
            return value
    return None


def result_text(value: Any) -> str | None:  # noqa: ANN401
    """Return a tool's result as text: a string as it is, text blocks joined, anything else as JSON."""
    if value is None or isinstance(value, str):
        return visible(value)
    if isinstance(value, list) and value and all(is_text_block(block) for block in value):
        return "\n".join(str(block["text"]) for block in value)
    return exact(value) or orjson.dumps(value).decode()


def is_text_block(value: Any) -> bool:  # noqa: ANN401 - any JSON value
    """Tell whether this is a block of text, not data that has a text among other things."""
    if not isinstance(value, dict) or not isinstance(value.get("text"), str):
        return False
    name = value.get("type")
    return block_kind(name) == "text" if isinstance(name, str) else len(value) == 1


def encoded_result(value: Any) -> str | None:  # noqa: ANN401
    """Return a tool's result that was recorded as JSON: a text carries quotes of its own, all else stays as it is.

    >>> encoded_result('"84"'), encoded_result('{"celsius": 4}'), encoded_result("84 or so")
    ('84', '{"celsius": 4}', '84 or so')
    """
    try:
        inner = loads(value) if isinstance(value, str) else value
    except orjson.JSONDecodeError:
        inner = None
    return inner if isinstance(inner, str) else result_text(value)


LEAD = 32
"""Characters at the beginning of a text, white space among them, that show whether it is JSON of objects."""


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
    )
)
"""Keys of messages that speak of tools and are read before, or repeat what is read."""


def _tells_of_tools(key: str, value: Any) -> bool:  # noqa: ANN401 - any JSON value
    """Tell whether a message holds calls or results of tools where nobody reads them."""
    name = "".join(filter(str.isalpha, key)).lower()
    if isinstance(value, dict) and name == "options":
        return any(_tells_of_tools(inner, item) for inner, item in value.items())
    is_full = isinstance(value, dict | list) and bool(value)
    return (
        is_full
        and ("toolcall" in name or "toolresult" in name or "functioncall" in name)
        and name not in READ_ELSEWHERE
    )


WRITTEN_CALLS = re.compile(r'\[\s*\{\s*"(?:id|type|index|function)"')


def _add_written_calls(draft: _Draft, text: str) -> bool:
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


def _draft(item: dict[str, Any]) -> _Draft:
    draft = _Draft()
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


def canonical_input(items: Iterable[Any], before: Iterable[Message] = ()) -> list[Message]:
    """Read a request's messages, whoever's shape they are in; one recorded item may hold several tool results.

    `before` are those that the request begins with, read already; they stay as they are.

    >>> canonical_input([{"role": "user", "parts": [{"type": "text", "content": "hi"}]}])
    [{'role': 'user', 'text': 'hi'}]
    """
    messages = [*before]
    is_unread = False
    for item in items:
        kind = block_kind(item["type"]) if isinstance(item, dict) and isinstance(item.get("type"), str) else None
        if not isinstance(item, dict):
            is_unread = True
        elif "role" in item or "parts" in item:
            messages += _canonical(item)
        elif kind == "call":
            _append_call(messages, item)
        elif kind == "result":
            value = first(item, "output", "result", "response", "content")
            messages.append(tool_result(first(item, *RESULT_IDS), _unpacked(value)))
        elif kind == "reasoning":
            continue  # the provider's own bookkeeping: it is not part of what a chat template shows
        elif "content" in item:
            messages += _canonical(item)
        else:
            is_unread = True
        if is_unread and messages:
            messages[-1] = {**messages[-1], UNREAD: True}
            is_unread = False
    return messages


def tool_result(identifier: Any, value: Any) -> Message:  # noqa: ANN401
    """Return a canonical tool message."""
    return {"role": "tool", "text": result_text(value), "tool_call_id": visible(identifier) or None}


def _result(identifier: Any, value: Any, failed: set[str]) -> Message:  # noqa: ANN401
    message = tool_result(identifier, value)
    return {**message, "is_error": True} if str(identifier) in failed else message


def _append_call(messages: list[Message], item: dict[str, Any]) -> None:
    draft = _Draft()
    draft.add_call(item)
    call = draft.calls[0]
    last = messages[-1] if messages else None
    if last is not None and last["role"] == "assistant":
        messages[-1] = {**last, "tool_calls": [*last.get("tool_calls", ()), call]}
    else:
        messages.append({"role": "assistant", "text": None, "tool_calls": [call]})


def _canonical(item: dict[str, Any]) -> list[Message]:
    role = role_of(item.get("role"))
    draft = _draft(item)
    if role == "user" and isinstance(item.get("tool_call_id"), str) and not draft.results:  # Anthropic's, taken apart
        role = "tool"
    if role == "tool" and not draft.results:
        identifier = first(item, "tool_call_id", "call_id", "id")
        content = item.get("content")
        text = draft.joined_text() if draft.text or isinstance(content, str) else result_text(content)
        return [{"role": "tool", "text": text, "tool_call_id": visible(identifier) or None}]
    messages = [_result(identifier, value, draft.failed) for identifier, value in draft.results]
    if draft.results and not draft.text and not draft.calls and not draft.media:
        return messages
    text = draft.joined_text()
    message: Message = {"role": role, "text": text if text is not None else draft.refusal}
    if draft.calls:
        message["tool_calls"] = draft.calls
    if draft.media:
        message["media"] = draft.media
        message["parts"] = draft.parts
    if draft.is_unread or UNREAD in item:
        message[UNREAD] = True
    return [*messages, message]


def canonical_output(items: Iterable[Any], finish_reasons: Iterable[str | None] = ()) -> list[Message]:
    """Read an answer, one message a choice; reasons given apart win over those inside.

    >>> canonical_output([{"role": "assistant", "content": "hi", "finish_reason": "stop"}])[0]["finish_reason"]
    'stop'
    """
    reasons = list(finish_reasons)
    answers: list[Message] = []
    for number, item in enumerate(entry for entry in items if isinstance(entry, dict)):
        draft = _draft(item)
        reason = reasons[number] if number < len(reasons) and reasons[number] else item.get("finish_reason")
        answers.append(answer(draft.joined_text(), draft.calls, draft.refusal, reason, "\n".join(draft.reasoning)))
        if draft.is_unread or draft.is_bare:
            answers[-1][UNREAD] = True
    return answers


def answer(
    text: str | None,
    calls: list[dict[str, Any]],
    refusal: str | None = None,
    finish_reason: Any = None,  # noqa: ANN401 - whatever was recorded
    reasoning: str | None = None,
) -> Message:
    """Return a canonical answer."""
    message: Message = {
        "role": "assistant",
        "text": None if text == "" and calls else text,
        "tool_calls": calls,
        "refusal": refusal,
        "finish_reason": finish_reason if isinstance(finish_reason, str) and finish_reason else None,
    }
    if reasoning:
        message["reasoning"] = reasoning
    return message


def has_content(message: Message) -> bool:
    """Tell whether an answer says anything."""
    return any(message.get(key) not in (None, "", []) for key in ("text", "tool_calls", "refusal", "reasoning"))


def responses_output(items: Iterable[Any], finish_reason: str | None) -> Message:
    """Join the output items of one Responses API call into the one answer they are."""
    draft = _Draft()
    for item in items:
        if not isinstance(item, dict):
            continue
        if item.get("type") == "message" or "role" in item:
            inner = _draft(item)
            draft.text += inner.text
            draft.calls += inner.calls
            draft.reasoning += inner.reasoning
            draft.refusal = inner.refusal or draft.refusal
        else:
            draft.add(item)
    return answer(draft.joined_text(), draft.calls, draft.refusal, finish_reason, "\n".join(draft.reasoning))


def join_answers(answers: list[Message]) -> list[Message]:
    """Join consecutive output messages of one Responses call: its items are one answer, not several choices."""
    if len(answers) <= 1:
        return answers
    texts = [message["text"] for message in answers if message["text"]]
    reasoning = "\n".join(message["reasoning"] for message in answers if message.get("reasoning"))
    refusal = next((message["refusal"] for message in answers if message["refusal"]), None)
    reason = next((message["finish_reason"] for message in reversed(answers) if message["finish_reason"]), None)
    calls = [call for message in answers for call in message["tool_calls"]]
    return [answer("\n".join(texts) if texts else None, calls, refusal, reason, reasoning)]


def join_turns(messages: list[Message]) -> list[Message]:
    """Join consecutive assistant messages of a Responses request: its items are pieces of one turn."""
    joined: list[Message] = []
    for message in messages:
        last = joined[-1] if joined else None
        if last is None or last["role"] != "assistant" or message["role"] != "assistant":
            joined.append(message)
            continue
        texts = [text for text in (last.get("text"), message.get("text")) if text]
        calls = [*last.get("tool_calls", ()), *message.get("tool_calls", ())]
        merged: Message = {"role": "assistant", "text": "\n".join(texts) if texts else None}
        joined[-1] = {**merged, "tool_calls": calls} if calls else merged
    return joined
