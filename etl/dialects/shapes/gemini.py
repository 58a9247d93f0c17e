"""Reads a request or response of Gemini's API, recorded whole as JSON, as the wire or Google's clients spell it.

https://ai.google.dev/api/generate-content
"""

from typing import Any

from etl.dialects.shapes.client_dump import sampling_params
from etl.dialects.shapes.exchanges import Request, Response
from etl.dialects.shapes.json_values import decode
from etl.dialects.shapes.messages.canonical import canonical_input, canonical_output
from etl.dialects.shapes.messages.names import first
from etl.dialects.shapes.messages.tools import definitions
from etl.dialects.shapes.values import integer_of, text_of, usage_of
from etl.dialects.spans import Message

API = "gemini"
"""What `llm_calls.api` calls it."""


def read_request(value: Any) -> Request | None:  # noqa: ANN401 - any JSON value
    """Read a request: an object with `contents`; None where it is none."""
    value = decode(value)
    if not isinstance(value, dict) or not isinstance(value.get("contents"), list):
        return None
    config = first(value, "generation_config", "generationConfig", "config")
    config = config if isinstance(config, dict) else {}
    tools = first(value, "tools") or config.get("tools")
    instructions = first({**config, **value}, "system_instruction", "systemInstruction")
    head = [] if instructions is None else [{**_content(instructions, "system"), "role": "system"}]  # clients say user
    return Request(
        api=API,
        model=text_of(value, "model"),
        input=canonical_input([*head, *(_content(item, "user") for item in value["contents"])]) or None,
        tools=lowered(definitions(tools)),
        params=sampling_params(config),
    )


def read_response(value: Any) -> Response | None:  # noqa: ANN401 - any JSON value
    """Read a response: an object with `candidates`; None where it is none."""
    value = decode(value)
    if not isinstance(value, dict) or not isinstance(value.get("candidates"), list):
        return None
    candidates = [item for item in value["candidates"] if isinstance(item, dict)]
    answers = [_content(item.get("content") or {}, "assistant") for item in candidates]
    usage = first(value, "usage_metadata", "usageMetadata")
    return Response(
        api=API,
        model=text_of(value, "model_version", "modelVersion"),
        response_id=text_of(value, "response_id", "responseId"),
        output=canonical_output(answers, [text_of(item, "finish_reason", "finishReason") for item in candidates]),
        usage=read_usage(usage) if isinstance(usage, dict) else None,
    )


def read_history(value: Any) -> list[Message] | None:  # noqa: ANN401 - any JSON value
    """Return what the last request held, where the client called tools by itself and asked again within one call."""
    value = decode(value)
    if not isinstance(value, dict):
        return None
    history = first(value, "automatic_function_calling_history", "automaticFunctionCallingHistory")
    return canonical_input(_content(item, "user") for item in history) if isinstance(history, list) else None


def read_usage(usage: dict[str, Any]) -> dict[str, int | None] | None:
    """Read the counts: thoughts stand apart from the answer's tokens.

    >>> read_usage({"promptTokenCount": 3, "candidates_token_count": 4, "thoughtsTokenCount": 1})["output_tokens"]
    4
    """
    return usage_of(
        input_tokens=integer_of(usage, "prompt_token_count", "promptTokenCount"),
        output_tokens=integer_of(usage, "candidates_token_count", "candidatesTokenCount"),
        cached_input_tokens=integer_of(usage, "cached_content_token_count", "cachedContentTokenCount"),
        reasoning_tokens=integer_of(usage, "thoughts_token_count", "thoughtsTokenCount"),
    )


def _content(content: Any, role: str) -> dict[str, Any]:  # noqa: ANN401
    """Return a message of a content object, which may have no role, or of the bare text or parts."""
    if isinstance(content, dict):
        return {"role": content.get("role") or role, "parts": content.get("parts") or []}
    return {"role": role, "content": content}


def lowered(tools: list[dict[str, Any]] | None) -> list[dict[str, Any]] | None:
    """Write the types of tools' parameters as JSON Schema does: Gemini's are in capitals.

    >>> lowered([{"name": "f", "parameters": {"type": "OBJECT"}}])
    [{'name': 'f', 'parameters': {'type': 'object'}}]
    """
    return None if tools is None else [{**tool, "parameters": _lower_types(tool["parameters"])} for tool in tools]


def _lower_types(schema: Any) -> Any:  # noqa: ANN401
    if isinstance(schema, list):
        return [_lower_types(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: value.lower() if key == "type" and isinstance(value, str) else _lower_types(value)
        for key, value in schema.items()
    }
