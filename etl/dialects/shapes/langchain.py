"""Reads LangChain's objects as its serialiser writes them, whichever instrumentation recorded them."""

import re
from typing import Any

from etl.dialects.shapes.exchanges import Response, answer_signature, read_usage
from etl.dialects.shapes.json_values import decode
from etl.dialects.shapes.messages.canonical import canonical_input, canonical_output
from etl.dialects.shapes.messages.names import role_of
from etl.dialects.shapes.messages.tools import call_arguments
from etl.dialects.shapes.values import text_of
from etl.dialects.spans import AnswerFact, Message

JAVASCRIPT = "langchain_core"
"""Where the names of LangChain's classes begin in JavaScript; Python's begin with `langchain`."""

CLASSES = {"human": "HumanMessage", "ai": "AIMessage", "system": "SystemMessage", "tool": "ToolMessage"}

REASONS = ("finish_reason", "stop_reason", "stopReason", "done_reason", "status")
"""What OpenAI's, Anthropic's, Bedrock's and Ollama's packages call it, and OpenAI's for the Responses API."""

OTHER_APIS = ("google", "cohere", "bedrock", "ollama")
"""Beginnings of LangChain's names of providers that speak an API of their own."""

RUN_ID = re.compile(r"(?:lc_)?run-{1,2}[0-9a-f]{8}-[0-9a-f-]{27}(-\d+)?$")
"""LangChain names an answer after its run, and one of several results with its number, which a stream has none of.

https://github.com/langchain-ai/langchain, `BaseChatModel.generate` and `.stream`
"""


def is_langchain(value: Any) -> bool:  # noqa: ANN401
    """Tell whether this is a LangChain object as its serialiser writes it."""
    return isinstance(value, dict) and value.get("lc") == 1 and isinstance(value.get("kwargs"), dict)


def is_message(value: Any) -> bool:  # noqa: ANN401
    """Tell whether this is one of LangChain's messages as its serialiser writes it."""
    return is_langchain(value) and _class(value).removesuffix("Chunk").endswith("Message")


def content_of(value: Any) -> Any:  # noqa: ANN401
    """Return what a tool's message holds, in whichever form of it; any other value as it is."""
    fields = value
    if is_langchain(value):
        fields = value["kwargs"]
    elif isinstance(value, dict) and value.get("type") == "tool" and isinstance(value.get("data"), dict):
        fields = value["data"]
    elif not (
        isinstance(value, dict) and "content" in value and ("tool_call_id" in value or value.get("type") == "tool")
    ):
        return value
    return fields.get("content", value)


def with_classes(value: Any) -> Any:  # noqa: ANN401
    """Turn LangChain's messages that were dumped as bare fields into its serialiser's form, which names their class.

    >>> with_classes([{"type": "ai", "content": "84", "response_metadata": {}}])[0]["id"]
    ['AIMessage']
    """
    if isinstance(value, list):
        return [with_classes(item) for item in value]
    if not isinstance(value, dict):
        return value
    if value.get("type") in CLASSES and "response_metadata" in value:
        return {"lc": 1, "id": [CLASSES[value["type"]]], "kwargs": value}
    return {key: with_classes(item) for key, item in value.items()}


def read_message(value: dict[str, Any]) -> Message:
    """Read a serialised LangChain message: the class name says the role."""
    item = _item(value)
    messages = canonical_input([item])
    message = messages[0] if messages else {"role": item["role"], "text": None}
    is_javascript = _path(value)[0] == JAVASCRIPT  # which sends the empty text beside tool calls
    if message.get("tool_calls") and message.get("text") == "" and not is_javascript:
        message["text"] = None
    return message


def _item(value: dict[str, Any]) -> dict[str, Any]:
    """Return a serialised LangChain message in the wire's shape."""
    kwargs = value["kwargs"]
    kind = _class(value).removesuffix("Chunk").removesuffix("Message").lower()
    role = {"human": "user", "ai": "assistant", "system": "system", "tool": "tool"}.get(
        kind, role_of(kwargs.get("type"))
    )
    item = {**kwargs, "role": role}
    if role == "assistant":
        item["tool_calls"] = [
            {"id": c.get("id"), "name": c.get("name"), "arguments": call_arguments(c.get("args"))}
            for c in kwargs.get("tool_calls") or ()
        ]
        more = kwargs.get("additional_kwargs")
        for key in ("refusal", "reasoning_content"):
            if isinstance(more, dict) and more.get(key) is not None:
                item.setdefault(key, more[key])
    return item


def _class(value: dict[str, Any]) -> str:
    return str(_path(value)[-1])


def _path(value: dict[str, Any]) -> list[Any]:
    """Return the path of an object's class, which its serialiser calls its id."""
    path = value.get("id")
    return path if isinstance(path, list) and path else [""]


def read_result(value: dict[str, Any]) -> Response | None:
    """Read what a chat model returned: its generations, and what it says of them together."""
    generations = value["generations"]
    flat = generations[0] if generations and isinstance(generations[0], list) else generations
    whole = value.get("llm_output")
    shared = whole if isinstance(whole, dict) else {}
    response = Response(
        model=text_of(shared, "model_name", "model"),
        response_id=text_of(shared, "id"),
        usage=read_usage(shared.get("token_usage")) or read_usage(shared.get("usage")),
    )
    answers = []
    for generation in flat:
        message = generation.get("message") if isinstance(generation, dict) else None
        if message is None or not is_langchain(message):
            continue
        metadata = message["kwargs"].get("response_metadata") or {}
        answers += canonical_output([_item(message)], [_reason(metadata)])
        response.model = response.model or text_of(metadata, "model_name", "model")
        response.response_id = response.response_id or text_of(metadata, "id") or _own_id(message["kwargs"])
        response.usage = response.usage or _usage(message["kwargs"])
        response.streamed = _is_stream(message) if response.streamed is None else response.streamed
        response.api = response.api or _api(metadata, response.response_id or "")
    response.output = answers
    return response if answers else None


def _own_id(kwargs: dict[str, Any]) -> str | None:
    """Return the provider's id of an answer, which LangChain in JavaScript gives its message."""
    identifier = text_of(kwargs, "id")
    return identifier if (identifier or "").startswith(PROVIDER_IDS) else None


PROVIDER_IDS = ("chatcmpl-", "resp_", "msg_")


def _reason(metadata: dict[str, Any]) -> str | None:
    return text_of(metadata, *REASONS)


def _api(metadata: dict[str, Any], identifier: str) -> str | None:
    """Return which API an answer came from, by its id, its shape and LangChain's name of the provider."""
    provider = text_of(metadata, "model_provider") or ""
    if identifier.startswith("resp_") or metadata.get("object") == "response":
        return "responses"
    if identifier.startswith("msg_") or provider == "anthropic":
        return "messages"
    return "chat.completions" if "finish_reason" in metadata and not provider.startswith(OTHER_APIS) else None


def _usage(kwargs: dict[str, Any]) -> dict[str, int | None] | None:
    """Return the provider's own counts, else those that LangChain made of them."""
    metadata = kwargs.get("response_metadata") or {}
    recorded = (metadata.get("token_usage"), metadata.get("usage"), kwargs.get("usage_metadata"))
    return next((usage for value in recorded if (usage := read_usage(value)) is not None), None)


def read_error(value: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON value
    """Return the provider's error that LangChain keeps as the answer of a failed call; empty where there is none."""
    value = decode(value)
    generations = value.get("generations") if isinstance(value, dict) else None
    stack = [generations]
    while stack:
        item = stack.pop()
        if isinstance(item, list):
            stack += item
        elif isinstance(item, dict) and is_langchain(item.get("message")):
            body = (item["message"]["kwargs"].get("response_metadata") or {}).get("body")
            error = body.get("error") if isinstance(body, dict) else None
            return error if isinstance(error, dict) else {}
    return {}


def answer_facts(value: Any) -> list[AnswerFact]:  # noqa: ANN401 - any JSON value
    """Return what the AI messages of a LangChain object tell of the answers they are; iterative, it may be deep."""
    found: list[AnswerFact] = []
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, list):
            stack += item
        elif is_langchain(item) and _class(item).startswith("AIMessage"):
            found.append(_answer_fact(item))
        elif isinstance(item, dict):
            stack += item.values()
    return found


def _answer_fact(item: dict[str, Any]) -> AnswerFact:
    kwargs = item["kwargs"]
    metadata = kwargs.get("response_metadata") or {}
    message = read_message(item)
    identifier = text_of(metadata, "id")
    return AnswerFact(
        identifier if (identifier or "").startswith(PROVIDER_IDS) else _own_id(kwargs),
        answer_signature(message),
        message.get("text"),
        _reason(metadata),
        text_of(metadata, "model_name", "model"),
        _usage(kwargs),
        _is_stream(item),
    )


def _is_stream(item: dict[str, Any]) -> bool | None:
    """Tell whether an answer was streamed: the name of its run says it, where it has that name."""
    run = RUN_ID.match(str(item["kwargs"].get("id")))
    if run is None:
        return True if _class(item) == "AIMessageChunk" else None
    return run.group(1) is None
