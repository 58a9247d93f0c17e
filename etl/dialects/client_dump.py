"""Reads a client's own request or response, recorded whole as JSON: OpenAI's APIs, Anthropic's and LangChain's."""

import re
from dataclasses import dataclass, field
from typing import Any

from etl.dialects.messages import (
    call_arguments,
    canonical_input,
    canonical_output,
    decode,
    definitions,
    first,
    responses_output,
    role_of,
    salvage_messages,
)
from etl.dialects.reprs import read_fields
from etl.dialects.spans import AnswerFact, Message
from etl.dialects.values import integer_of, text_of, usage_of

PARAMS = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "seed",
    "n",
    "stop",
    "frequency_penalty",
    "presence_penalty",
    "tool_choice",
    "response_format",
)
"""Request fields that shape the distribution an answer is sampled from."""


UNSET: tuple[Any, ...] = (None, "", [])
"""Values of a parameter that was not given; Mistral's client has an empty text for it."""

SPELLINGS = {
    "stop_sequences": "stop",
    "stopSequences": "stop",
    "topP": "top_p",
    "topK": "top_k",
    "maxTokens": "max_tokens",
    "maxOutputTokens": "max_output_tokens",
    "random_seed": "seed",
}
"""What Anthropic, Bedrock, Gemini, Mistral and smolagents call them."""


@dataclass(slots=True)
class Request:
    """What a recorded request tells."""

    api: str | None = None
    model: str | None = None
    input: list[Message] | None = None
    tools: list[dict[str, Any]] | None = None
    params: dict[str, Any] = field(default_factory=dict)
    streamed: bool | None = None


@dataclass(slots=True)
class Response:
    """What a recorded response tells."""

    api: str | None = None
    model: str | None = None
    response_id: str | None = None
    output: list[Message] | None = None
    usage: dict[str, int | None] | None = None
    instructions: str | None = None
    streamed: bool | None = None


def sampling_params(source: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON value
    """Return the sampling parameters a request object holds.

    >>> sampling_params({"temperature": 0.5, "model": "m", "seed": None})
    {'temperature': 0.5}
    """
    if not isinstance(source, dict):
        return {}
    params = {name: source[name] for name in PARAMS if source.get(name) not in UNSET}
    for name, ours in SPELLINGS.items():
        if source.get(name) not in UNSET:
            params.setdefault(ours, source[name])
    if isinstance(params.get("response_format"), str):  # the name of a class: what became of it is not recorded
        del params["response_format"]
    return params


def read_request(value: Any) -> Request | None:  # noqa: ANN401
    """Read a request: an object with `messages` or `input`, or the bare list of messages or items."""
    value = decode(value)
    if isinstance(value, list):
        messages = canonical_input(value)
        return Request(input=messages) if messages else None
    if not isinstance(value, dict):
        return None
    request = Request(
        model=text_of(value, "model", "model_name"),
        tools=definitions(value.get("tools")),
        params=sampling_params(value),
        streamed=value["stream"] if isinstance(value.get("stream"), bool) else None,
    )
    listed_messages = value.get("messages")
    items = value.get("input")
    prompts = value.get("prompt")
    if isinstance(prompts, str) and "model" in value:
        request.api = "completions"
        request.input = [{"role": "user", "text": prompts}]
    elif isinstance(listed_messages, list):
        is_messages = "system" in value and "max_tokens" in value
        is_framework = any(is_langchain(message) for message in _unbatched(listed_messages))
        request.api = None if is_framework else "messages" if is_messages else "chat.completions"
        request.input = _system(value.get("system")) + _flat_messages(listed_messages)
    elif items is not None and ("model" in value or "instructions" in value):
        request.api = "responses"
        instructions = _system(value.get("instructions"))
        listed = [{"role": "user", "content": items}] if isinstance(items, str) else items
        request.input = instructions + (canonical_input(listed) if isinstance(listed, list) else [])
    if request.input is None and request.tools is None and not request.params:
        return None
    return request


def _system(value: Any) -> list[Message]:  # noqa: ANN401
    if isinstance(value, str) and value:
        return [{"role": "system", "text": value}]
    return canonical_input([{"role": "system", "content": value}]) if isinstance(value, list) and value else []


def _unbatched(messages: list[Any]) -> list[Any]:
    """Return the messages of a batch of one, as LangChain nests them: [[message, …]]."""
    return messages[0] if len(messages) == 1 and isinstance(messages[0], list) else messages


def _flat_messages(messages: list[Any]) -> list[Message]:
    messages = _unbatched(messages)
    if any(is_langchain(message) for message in messages):
        return [langchain_message(message) for message in messages if is_langchain(message)]
    return canonical_input(read_fields(message) or message for message in messages)


def is_langchain(value: Any) -> bool:  # noqa: ANN401
    """Tell whether this is a LangChain object as its serialiser writes it."""
    return isinstance(value, dict) and value.get("lc") == 1 and isinstance(value.get("kwargs"), dict)


LANGCHAIN_CLASSES = {"human": "HumanMessage", "ai": "AIMessage", "system": "SystemMessage", "tool": "ToolMessage"}


def with_classes(value: Any) -> Any:  # noqa: ANN401
    """Turn LangChain's messages that were dumped as bare fields into its serialiser's form, which names their class.

    >>> with_classes([{"type": "ai", "content": "84", "response_metadata": {}}])[0]["id"]
    ['AIMessage']
    """
    if isinstance(value, list):
        return [with_classes(item) for item in value]
    if not isinstance(value, dict):
        return value
    if value.get("type") in LANGCHAIN_CLASSES and "response_metadata" in value:
        return {"lc": 1, "id": [LANGCHAIN_CLASSES[value["type"]]], "kwargs": value}
    return {key: with_classes(item) for key, item in value.items()}


def langchain_message(value: dict[str, Any]) -> Message:
    """Read a serialised LangChain message: the class name says the role."""
    item = _langchain_item(value)
    messages = canonical_input([item])
    message = messages[0] if messages else {"role": item["role"], "text": None}
    if message.get("tool_calls") and message.get("text") == "":
        message["text"] = None
    return message


def _langchain_item(value: dict[str, Any]) -> dict[str, Any]:
    """Return a serialised LangChain message in the wire's shape."""
    kwargs = value["kwargs"]
    kind = _langchain_class(value).removesuffix("Chunk").removesuffix("Message").lower()
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


def _langchain_class(value: dict[str, Any]) -> str:
    return str((value.get("id") or [""])[-1])


def read_response(value: Any) -> Response | None:  # noqa: ANN401
    """Read a response object of chat completions, of the Responses API, of Anthropic's API, or of LangChain."""
    value = decode(value)
    if (
        isinstance(value, list)
        and len(value) == 1
        and isinstance(value[0], dict)
        and value[0].get("object") == "response"
    ):
        return _converted_stream(value[0])
    if isinstance(value, list) and value and all(_is_wire_message(item) for item in value):
        return Response("chat.completions", output=canonical_output(value))  # openai-agents: the choices' messages
    if not isinstance(value, dict):
        return None
    response = Response(
        model=text_of(value, "model"), response_id=text_of(value, "id"), usage=read_usage(value.get("usage"))
    )
    choices, output, content = value.get("choices"), value.get("output"), value.get("content")
    if isinstance(choices, list):
        response.api = "completions" if value.get("object") == "text_completion" else "chat.completions"
        messages = [
            first(choice, "message", "delta") or {"content": choice.get("text")}
            for choice in choices
            if isinstance(choice, dict)
        ]
        response.output = canonical_output(messages, [choice.get("finish_reason") for choice in choices])
    elif isinstance(output, list) and (value.get("object") == "response" or "status" in value):
        response.api = "responses"
        response.output = [responses_output(output, text_of(value, "status"))]
        instructions = value.get("instructions")
        response.instructions = instructions if isinstance(instructions, str) else None
    elif isinstance(content, list) and "stop_reason" in value:
        response.api = "messages"
        response.output = canonical_output([value], [value.get("stop_reason")])
    elif isinstance(value.get("generations"), list):
        return _langchain_result(value)
    else:
        return None
    return response


def _is_wire_message(item: Any) -> bool:  # noqa: ANN401
    return isinstance(item, dict) and "role" in item and "contents" not in item  # those are LiteLLM's instrumentation's


def _converted_stream(value: dict[str, Any]) -> Response | None:
    """Read a stream of chat completions that openai-agents turned into a response of the other API, ids made up."""
    items = value.get("output")
    if not isinstance(items, list):
        return None
    origins = [item.get("provider_data") for item in items if isinstance(item, dict)]
    identifiers = [text_of(origin, "response_id") for origin in origins if isinstance(origin, dict)]
    return Response(
        "chat.completions",
        response_id=next((identifier for identifier in identifiers if identifier), None),
        output=[responses_output(items, None)],
        usage=read_usage(value.get("usage")),
        streamed=True,
    )


API_OF_ID = {"resp": "responses", "msg": "messages"}
"""What the ids of responses begin with, before an underscore."""


def api_of_id(response_id: str | None) -> str | None:
    """Return the API that gives responses such ids.

    >>> api_of_id("resp_1"), api_of_id("chatcmpl-1")
    ('responses', None)
    """
    return API_OF_ID.get((response_id or "").split("_")[0])


def _langchain_result(value: dict[str, Any]) -> Response | None:
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
        answers += canonical_output([_langchain_item(message)], [_langchain_reason(metadata)])
        response.model = response.model or text_of(metadata, "model_name", "model")
        response.response_id = response.response_id or text_of(metadata, "id")
        response.usage = response.usage or _langchain_usage(message["kwargs"])
        response.streamed = _is_langchain_stream(message) if response.streamed is None else response.streamed
        response.api = response.api or _langchain_api(metadata, response.response_id or "")
    response.output = answers
    return response if answers else None


LANGCHAIN_REASONS = ("finish_reason", "stop_reason", "stopReason", "done_reason", "status")
"""What OpenAI's, Anthropic's, Bedrock's and Ollama's packages call it, and OpenAI's for the Responses API."""

OTHER_APIS = ("google", "cohere", "bedrock", "ollama")
"""Beginnings of LangChain's names of providers that speak an API of their own."""


def _langchain_reason(metadata: dict[str, Any]) -> str | None:
    return text_of(metadata, *LANGCHAIN_REASONS)


def _langchain_api(metadata: dict[str, Any], identifier: str) -> str | None:
    """Return which API an answer came from, by its id, its shape and LangChain's name of the provider."""
    provider = text_of(metadata, "model_provider") or ""
    if identifier.startswith("resp_") or metadata.get("object") == "response":
        return "responses"
    if identifier.startswith("msg_") or provider == "anthropic":
        return "messages"
    return "chat.completions" if "finish_reason" in metadata and not provider.startswith(OTHER_APIS) else None


def _langchain_usage(kwargs: dict[str, Any]) -> dict[str, int | None] | None:
    """Return the provider's own counts, else those that LangChain made of them."""
    metadata = kwargs.get("response_metadata") or {}
    recorded = (metadata.get("token_usage"), metadata.get("usage"), kwargs.get("usage_metadata"))
    return next((usage for value in recorded if (usage := read_usage(value)) is not None), None)


CUT_ID = re.compile(r'^\{"id":\s*"((?:chatcmpl-|resp_|msg_)[^"]+)"')
CUT_MESSAGES = re.compile(r'"(messages|input)":\s*\[')
CUT_MODEL = re.compile(r'"model":\s*"([^"]+)"')


def salvage_response(text: Any) -> Response | None:  # noqa: ANN401 - any attribute value
    """Return what the beginning of a response tells whose end was cut off: its id, and its model if it comes early.

    >>> salvage_response('{"id":"chatcmpl-1","model":"m","choices":[{"mess').response_id
    'chatcmpl-1'
    """
    found = CUT_ID.match(text) if isinstance(text, str) else None
    if found is None:
        return None
    model = CUT_MODEL.search(text)
    api = {"c": "chat.completions", "r": "responses", "m": "messages"}[found.group(1)[0]]
    return Response(api, model.group(1) if model else None, found.group(1))


def salvage_request(text: Any) -> Request | None:  # noqa: ANN401 - any attribute value
    """Return what the beginning of a request tells whose end was cut off: its first messages, and its model.

    >>> salvage_request('{"model":"m","messages":[{"role":"user","content":"a"},{"role":"user","con').input
    [{'role': 'user', 'text': 'a'}, {'role': 'user', 'text': None}]
    """
    if not isinstance(text, str) or not text.startswith("{"):
        return None
    start = CUT_MESSAGES.search(text)
    messages = canonical_input(salvage_messages(text[start.end() - 1 :])) if start else []
    model = CUT_MODEL.search(text[: start.start()] if start else text)
    api = "responses" if start and start.group(1) == "input" else "chat.completions"
    return Request(api, model.group(1) if model else None, messages) if messages else None


def langchain_error(value: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON value
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


def history_facts(value: Any) -> list[AnswerFact]:  # noqa: ANN401 - any JSON value
    """Return the response ids that a request's history keeps of earlier answers, as Agno's does."""
    if "provider_data" not in str(value):
        return []
    value = decode(value)
    messages = value.get("messages") if isinstance(value, dict) else None
    found: list[AnswerFact] = []
    for item in messages if isinstance(messages, list) else ():
        provider = item.get("provider_data") if isinstance(item, dict) else None
        identifier = text_of(provider, "id") if isinstance(provider, dict) else None
        signature = answer_signature(canonical_input([item])[0]) if identifier else ""
        if identifier and signature:
            found.append(AnswerFact(identifier, signature))
    return found


RUN_ID = re.compile(r"(?:lc_)?run-{1,2}[0-9a-f]{8}-[0-9a-f-]{27}(-\d+)?$")
"""LangChain names an answer after its run, and one of several results with its number, which a stream has none of.

https://github.com/langchain-ai/langchain, `BaseChatModel.generate` and `.stream`
"""


def answer_facts(value: Any) -> list[AnswerFact]:  # noqa: ANN401 - any JSON value
    """Return what the AI messages of a LangChain object tell of the answers they are; iterative, it may be deep."""
    found: list[AnswerFact] = []
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, list):
            stack += item
        elif is_langchain(item) and str((item.get("id") or [""])[-1]).startswith("AIMessage"):
            found.append(_answer_fact(item))
        elif isinstance(item, dict):
            stack += item.values()
    return found


def _answer_fact(item: dict[str, Any]) -> AnswerFact:
    kwargs = item["kwargs"]
    metadata = kwargs.get("response_metadata") or {}
    message = langchain_message(item)
    identifier = text_of(metadata, "id")
    return AnswerFact(
        identifier if (identifier or "").startswith(("chatcmpl-", "resp_", "msg_")) else None,
        answer_signature(message),
        message.get("text"),
        _langchain_reason(metadata),
        text_of(metadata, "model_name", "model"),
        _langchain_usage(kwargs),
        _is_langchain_stream(item),
    )


def _is_langchain_stream(item: dict[str, Any]) -> bool | None:
    """Tell whether an answer was streamed: the name of its run says it, where it has that name."""
    run = RUN_ID.match(str(item["kwargs"].get("id")))
    if run is None:
        return True if _langchain_class(item) == "AIMessageChunk" else None
    return run.group(1) is None


def answer_signature(message: Message) -> str:
    """Return what an answer is known by within its trace: the ids of its tool calls, else its text."""
    identifiers = [str(request["id"]) for request in message.get("tool_calls") or () if request["id"]]
    return " ".join(identifiers) or message.get("text") or ""


def read_usage(value: Any) -> dict[str, int | None] | None:  # noqa: ANN401
    """Read a usage object of any of the APIs.

    >>> read_usage({"prompt_tokens": 3, "completion_tokens": 4})["output_tokens"]
    4
    """
    if not isinstance(value, dict):
        return None
    prompt = first(value, "prompt_tokens_details", "input_tokens_details", "input_token_details") or {}
    completion = first(value, "completion_tokens_details", "output_tokens_details", "output_token_details") or {}
    return usage_of(
        input_tokens=integer_of(value, "prompt_tokens", "input_tokens"),
        output_tokens=integer_of(value, "completion_tokens", "output_tokens"),
        cached_input_tokens=_first_count(
            integer_of(prompt, "cached_tokens", "cache_read"), integer_of(value, "cache_read_input_tokens")
        ),
        reasoning_tokens=integer_of(completion, "reasoning_tokens", "reasoning"),
    )


def _first_count(*counts: int | None) -> int | None:
    return next((count for count in counts if count is not None), None)
