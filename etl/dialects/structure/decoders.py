"""Reads the shapes of model traffic, whoever recorded them and under whatever name: requests, answers, messages, tools.

What a client or framework sent and got is one of few shapes in a few spellings. A value is put into the wire's spelling
(`plain`) and then recognised by what it holds, never by who wrote it.
"""

import re
from typing import Any

from etl.dialects.shapes import client_dump, gemini, langchain
from etl.dialects.shapes.exchanges import Request, Response, read_usage
from etl.dialects.shapes.messages.canonical import UNREAD, answer, canonical_input, canonical_output, responses_output
from etl.dialects.shapes.messages.names import block_kind, content_of, first, is_block, role_of
from etl.dialects.shapes.messages.tools import definitions
from etl.dialects.shapes.values import text_of
from etl.dialects.spans import Message
from etl.dialects.structure.recognition import (
    ITEMS,
    SAYERS,
    SENDERS,
    SIDES,
    is_message,
    is_messages,
    is_tool_call,
    sayer_of,
)

PAYLOADS = frozenset(
    (
        "arguments",
        "args",
        "parameters",
        "input_schema",
        "output_schema",
        "json_schema",
        "schema",
        "properties",
        "metadata",
        "text",
        "content",
        "result",
        "response",
        "output",
        "input",
        "value",
    )
)
"""Keys of what a message carries: objects below them are the user's and the tools' own, spelled as they are."""

CAPITAL = re.compile(r"[A-Z$\-]")

HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")

BOXES = ("message", "tool_call", "message_content", "image")
"""Keys of a box around the one thing in it, as numbered attributes have them (`0.message.role`)."""

WHOLE = (
    "raw",
    "raw_response",
    "response",
    "result",
    "data",
    "body",
    "completion",
    "completions",
    "output",
    "value",
    "object",
)
"""Keys of a box around a client's whole response."""


def plain(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Return a value with its keys in the wire's spelling, but for those of the payloads within; boxes are opened.

    >>> plain({"finishReason": "stop", "message": {"toolCalls": [{"args": {"cityName": "Oslo"}}]}})
    {'finish_reason': 'stop', 'message': {'tool_calls': [{'args': {'cityName': 'Oslo'}}]}}
    """
    if isinstance(value, list):
        return [plain(item) for item in value]
    if not isinstance(value, dict) or langchain.is_langchain(value):
        return value
    spelled: dict[str, Any] = {}
    for key, item in value.items():
        name = HUMP.sub("_", key).replace("-", "_").replace("$", "").lower() if CAPITAL.search(key) else key
        is_payload = name in PAYLOADS and isinstance(item, dict) and not (_is_structure(item) or is_block(item))
        spelled[name] = item if is_payload else plain(item)
    return spelled


def _is_structure(value: dict[str, Any]) -> bool:
    names = {key.lower() for key in value}
    return not names.isdisjoint(
        ("role", "messages", "choices", "contents", "parts", "candidates", "message", "toolcalls", "tool_calls")
    )


def as_item(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Return a message in the wire's shape: out of its box, with its role and its content under the wire's names."""
    if not isinstance(value, dict):
        return value
    if (role := sayer_of(value)) is not None:
        words = next(iter(value.values()))
        if isinstance(words, dict):
            return as_item({**words, "role": role})
        return {"role": role, "content": words} if isinstance(words, str) else {"role": role, UNREAD: True}
    if isinstance(value.get("message"), dict) and "role" not in value:
        value = {**{key: item for key, item in value.items() if key != "message"}, **value["message"]}
    sayer = first(value, *SAYERS[1:])
    if "role" not in value and isinstance(sayer, str) and role_of(sayer) in SIDES:
        value = {"role": sayer, **value}
    if "content" not in value and isinstance(value.get("blocks"), list):  # LlamaIndex for Python
        blocks = [
            {**b, "type": name} if isinstance(b, dict) and (name := first(b, *KIND_KEYS)) else b
            for b in value["blocks"]
        ]
        kept = value.get("additional_kwargs")
        identifier = kept.get("tool_call_id") if isinstance(kept, dict) else None
        value = {**value, "content": blocks, **({"tool_call_id": identifier} if identifier else {})}
        value.pop("additional_kwargs", None)
    name = first(value, "type", "message_type")
    if "role" not in value and isinstance(name, str) and name.lower() in SENDERS:
        value = {**value, **(value["data"] if isinstance(value.get("data"), dict) else {})}
        value = {
            "role": name.lower().removesuffix("message"),
            **{key: item for key, item in value.items() if key != "type"},
        }
    options = value.get("options")
    if isinstance(options, dict) and {"tool_call", "tool_result"} & set(options):  # LlamaIndex for TypeScript
        value = {key: item for key, item in value.items() if key != "options"}
        value |= {"tool_calls": options["tool_call"]} if options.get("tool_call") else {}
        result = options.get("tool_result")
        if isinstance(result, dict):
            value = {**value, "role": "tool", "tool_call_id": result.get("id"), "content": result.get("result")}
    if isinstance(value.get("responses"), list) and value["responses"]:
        value = {**value, "content": [_result(item) for item in value["responses"]]}
    if "content" not in value and "parts" not in value:
        content = first(value, "contents", "text", "message", "body", "value", "output")
        if content is not None:
            value = {**value, "content": content}
    content = value.get("content")
    if isinstance(content, dict) and "type" not in content and isinstance(first(content, "content", "message"), str):
        reason = text_of(content, "finish_reason")  # a message event's fields, as the content of a message
        content = content_of(first(content, "content", "message"))
        value = {**value, "content": content, **({"finish_reason": reason} if reason else {})}
    if isinstance(content, list) and any(isinstance(block, dict) and not BOXED.isdisjoint(block) for block in content):
        value = {**value, "content": [_unboxed(block) for block in content]}
    calls = first(
        value, "tool_calls", "tool_call_requests", "tool_execution_requests", "tool_invocations", "function_calls"
    )
    if isinstance(calls, list) and calls:
        value = {**value, "tool_calls": [_unboxed(call) for call in calls]}
    return value


def _result(item: Any) -> Any:  # noqa: ANN401 - any JSON value
    if not isinstance(item, dict) or "response_data" not in item:
        return item
    return {"type": "tool_result", "tool_use_id": item.get("id"), "content": item["response_data"]}


BOXED = {"tool_call", "message_content"}

KIND_KEYS = ("block_type", "kind", "part_kind")
"""Keys under which a block says what it is, where it has no `type`."""


def _unboxed(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    inner = next((value[key] for key in BOXES if isinstance(value, dict) and isinstance(value.get(key), dict)), None)
    return inner if inner is not None and len(value) == 1 else value


def read_messages(items: list[Any]) -> list[Message]:
    """Read a request's messages, in any of their shapes."""
    if len(items) == 1 and isinstance(items[0], list):
        items = items[0]
    if any(langchain.is_langchain(item) for item in items):
        return [langchain.read_message(item) for item in items if langchain.is_langchain(item)]
    return canonical_input(as_item(item) for item in items)


def read_answers(items: list[Any], reasons: tuple[str | None, ...] = ()) -> list[Message] | None:
    """Read the answers that a list of messages, choices or blocks is; None where it holds more than answers."""
    items = [item["message"] | {"finish_reason": _reason(item)} if _is_choice(item) else item for item in items]
    if any(langchain.is_langchain(item) for item in items):
        if any(langchain.is_langchain(item) and langchain.read_message(item)["role"] != "assistant" for item in items):
            return None
        generations = [{"message": item} for item in items]
        response = langchain.read_result({"generations": generations})
        return response.output if response is not None else None
    items = [as_item(item) for item in items]
    if any(isinstance(item, dict) and UNREAD in item for item in items):
        return [{**answer(None, []), UNREAD: True}]
    if any(isinstance(item, dict) and item.get("type") in ITEMS for item in items):
        if any(isinstance(item, dict) and block_kind(str(item.get("type"))) == "result" for item in items):
            return None
        return [responses_output(items, next(iter(reasons), None))]
    if any(role_of(item.get("role") or "assistant") != "assistant" for item in items if isinstance(item, dict)):
        return None
    return canonical_output(items, reasons)


def _is_choice(value: Any) -> bool:  # noqa: ANN401 - any JSON value
    return isinstance(value, dict) and isinstance(value.get("message"), dict) and "role" not in value


def _reason(value: dict[str, Any]) -> str | None:
    return text_of(value, "finish_reason", "stop_reason", "done_reason")


def read_request(value: dict[str, Any]) -> Request | None:
    """Read a request as a client was given it: an object that holds messages, contents, items or a prompt."""
    request = gemini.read_request(value)
    if request is not None:
        return request
    messages = value.get("messages")
    if isinstance(messages, list) and messages:
        unbatched = messages[0] if len(messages) == 1 and isinstance(messages[0], list) else messages
        if not is_messages(unbatched):
            return None
        request = client_dump.read_request({**value, "messages": [as_item(item) for item in unbatched]})
        inner = next(
            (client_dump.sampling_params(value[key]) for key in SETTINGS if isinstance(value.get(key), dict)), {}
        )
        if request is not None:
            request.params = {**inner, **request.params}
            if request.tools is None and isinstance(value.get("tools"), dict):
                request.tools = tools_by_name(value["tools"])
            if request.tools is None and isinstance(value.get("tool_config"), dict):  # Bedrock's
                request.tools = read_tools(value["tool_config"].get("tools"))
        return request
    items = value.get("input")
    is_request = not {"model", "instructions", "tools"}.isdisjoint(value)
    if is_request and (isinstance(items, str) or is_messages(items)):
        return client_dump.read_request({"model": None, **value})
    return client_dump.read_request(value) if isinstance(value.get("prompt"), str) and "model" in value else None


SETTINGS = (
    "config",
    "settings",
    "options",
    "parameters",
    "params",
    "model_parameters",
    "invocation_params",
    "generation_config",
    "inference_config",
)
"""Keys of a box around a request's sampling parameters."""


def read_response(value: dict[str, Any]) -> Response | None:
    """Read a response as a client or framework gave it: choices, candidates, items, one message, or its pieces."""
    response = gemini.read_response(value) or client_dump.read_response(value)
    if response is not None and response.output is not None:
        return response
    usage = first(value, "usage", "usage_metadata", "token_usage")
    found = Response(
        model=text_of(value, "model", "model_id", "model_name"),
        response_id=text_of(value, "response_id", "id"),
        usage=_usage(usage) or _ollama_usage(value),
    )
    inner, reason = value.get("message"), _reason(value)
    if (
        isinstance(inner, dict)
        and is_message({"role": "assistant", **inner})
        and role_of(inner.get("role") or "ai") == "assistant"
    ):
        found.output = read_answers([inner], (reason,))  # Ollama's, Genkit's
    elif isinstance(value.get("output"), dict) and isinstance(value["output"].get("message"), dict):
        found.output = read_answers([value["output"]["message"]], (reason,))  # Bedrock's
    elif is_messages(value.get("messages")) and {"finish_reason", "response_id", "usage"} & set(value):
        found.output = read_answers(value["messages"], (reason,))  # .NET's
    elif _is_answer(value):
        item = {**value, "role": "assistant", "content": first(value, *WORDS)}
        if isinstance(item["content"], list) and item["content"] and all(map(is_tool_call, item["content"])):
            item = {**item, "content": value.get("thought"), "tool_calls": item["content"]}  # AutoGen's, words apart
        found.output = read_answers([{k: v for k, v in item.items() if k not in ("type", "parts")}], (reason,))
    if found.output is None:
        return None
    found.api = client_dump.api_of_id(found.response_id)
    return found


def _usage(value: Any) -> dict[str, int | None] | None:  # noqa: ANN401 - any JSON value
    """Read counts under the names of any API; .NET's and Java's stand as Gemini's do."""
    if not isinstance(value, dict):
        return None
    counts = {
        "input_tokens": first(value, "input_token_count", "inputTokens"),
        "output_tokens": first(value, "output_token_count", "outputTokens"),
    }
    return read_usage(value) or gemini.read_usage(value) or read_usage(counts)


def _ollama_usage(value: dict[str, Any]) -> dict[str, int | None] | None:
    return read_usage({"input_tokens": value.get("prompt_eval_count"), "output_tokens": value.get("eval_count")})


WORDS = ("content", "parts", "text", "response", "completion")
"""Keys of an answer without a box under which its words stand."""


def _is_answer(value: dict[str, Any]) -> bool:
    """Tell whether this is an answer without a box: an assistant's message, or its text with tool calls or a reason."""
    role = value.get("role")
    if isinstance(role, str):
        return role_of(role) == "assistant"
    says = any(isinstance(value.get(key), str) for key in WORDS) or isinstance(first(value, "content", "parts"), list)
    calls = isinstance(first(value, "tool_calls", "tool_call_requests", "tool_execution_requests"), list)
    return (
        calls or (says and (_reason(value) is not None or "usage" in value)) or ("parts" in value and len(value) <= 2)
    )


def read_tools(value: Any) -> list[dict[str, Any]] | None:  # noqa: ANN401 - any JSON value
    """Read the definitions of tools: a list of them, or of their JSON, one also without a schema; else None."""
    if not isinstance(value, list) or not value:
        return None
    if all(isinstance(item, str) for item in value):
        return None
    tools = definitions([plain(item) if isinstance(item, dict) else item for item in value])
    is_whole = tools is not None and len(tools) >= len(value) and all(_is_offer(item) for item in value)
    return tools if is_whole else None


def tools_by_name(value: dict[str, Any]) -> list[dict[str, Any]] | None:
    """Read tools that are kept by their names."""
    listed = [{"name": name, **tool} for name, tool in value.items() if isinstance(tool, dict)]
    return read_tools(listed)


def _is_offer(item: Any) -> bool:  # noqa: ANN401 - any JSON value
    if not isinstance(item, dict):
        return isinstance(item, str)
    inner = next(
        (item[key] for key in ("function", "toolSpec", "tool_spec", "tool") if isinstance(item.get(key), dict)), item
    )
    keys = {key.lower().replace("_", "") for key in inner}
    is_call = not {"arguments", "args", "input", "output", "role", "content", "result"}.isdisjoint(keys)
    return not is_call and ("name" in keys or "functiondeclarations" in keys)
