"""Reads a client's own request or response, recorded whole as JSON: OpenAI's APIs, Anthropic's and LangChain's."""

import re
from collections.abc import Iterable
from typing import Any

from etl.dialects.shapes import langchain
from etl.dialects.shapes.exchanges import Request, Response, answer_signature, read_usage
from etl.dialects.shapes.json_values import decode, salvage_messages
from etl.dialects.shapes.messages.canonical import canonical_input, canonical_output, responses_output
from etl.dialects.shapes.messages.names import first, is_address
from etl.dialects.shapes.messages.tools import definitions
from etl.dialects.shapes.reprs import read_fields
from etl.dialects.shapes.values import text_of
from etl.dialects.spans import AnswerFact, Message

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


def sampling_params(source: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON value
    """Return the sampling parameters a request object holds.

    >>> sampling_params({"temperature": 0.5, "model": "m", "seed": None})
    {'temperature': 0.5}
    """
    if not isinstance(source, dict):
        return {}
    params = {name: source[name] for name in PARAMS if _is_given(source.get(name))}
    for name, ours in SPELLINGS.items():
        if _is_given(source.get(name)):
            params.setdefault(ours, source[name])
    if isinstance(params.get("response_format"), str):  # the name of a class: what became of it is not recorded
        del params["response_format"]
    return params


def _is_given(value: Any) -> bool:  # noqa: ANN401
    return value not in UNSET and not is_address(value)


def read_request(value: Any) -> Request | None:  # noqa: ANN401
    """Read a request: an object with `messages` or `input`, or the bare list of messages or items.

    What a function was called with beside its own parameters stands under their name in Python, `kwargs`.

    >>> read_request({"messages": [], "kwargs": {"temperature": 0.5}}).params
    {'temperature': 0.5}
    """
    value = decode(value)
    if isinstance(value, list):
        messages = canonical_input(value)
        return Request(input=messages) if messages else None
    if not isinstance(value, dict):
        return None
    if isinstance(value.get("kwargs"), dict):
        value = {**value["kwargs"], **value}
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
        is_framework = any(langchain.is_langchain(message) for message in _unbatched(listed_messages))
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
    if any(langchain.is_langchain(message) for message in messages):
        return [langchain.read_message(message) for message in messages if langchain.is_langchain(message)]
    return canonical_input(read_fields(message) or message for message in messages)


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
        choices = [choice for choice in choices if isinstance(choice, dict)]
        response.api = "completions" if value.get("object") == "text_completion" else "chat.completions"
        messages = [first(choice, "message", "delta") or {"content": choice.get("text")} for choice in choices]
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
        return langchain.read_result(value)
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


def assemble(chunks: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Put a stream of chat completion chunks together as the response it would have been without streaming."""
    choices: dict[int, dict[str, Any]] = {}
    response: dict[str, Any] = {}
    for chunk in chunks:
        for key in ("id", "model", "usage"):
            response[key] = chunk.get(key) or response.get(key)
        for part in chunk.get("choices") or ():
            choice = choices.setdefault(part.get("index") or 0, {"text": [], "calls": {}, "finish_reason": None})
            delta = part.get("delta") or {}
            choice["finish_reason"] = part.get("finish_reason") or choice["finish_reason"]
            if delta.get("content") is not None:
                choice["text"].append(delta["content"])
            for piece in delta.get("tool_calls") or ():
                call = choice["calls"].setdefault(piece.get("index") or 0, {"id": None, "name": None, "arguments": ""})
                function = piece.get("function") or {}
                call["id"] = piece.get("id") or call["id"]
                call["name"] = function.get("name") or call["name"]
                call["arguments"] += function.get("arguments") or ""
    response["choices"] = [
        {
            "finish_reason": choice["finish_reason"],
            "message": {
                "role": "assistant",
                "content": "".join(choice["text"]) if choice["text"] else None,
                "tool_calls": [call for _, call in sorted(choice["calls"].items())],
            },
        }
        for _, choice in sorted(choices.items())
    ]
    return response
