"""Where a request has its system message, in chat and in the Responses API; and the same request with another one."""

from collections.abc import Mapping
from typing import Any

SYSTEM = ("system", "developer")


def read_system(request: Mapping[str, Any]) -> str | None:
    """Return the system message a request begins with; None where it has none, or one that is not one text.

    >>> read_system({"messages": [{"role": "system", "content": "Be kind."}]}), read_system({"instructions": "Hm."})
    ('Be kind.', 'Hm.')
    """
    if isinstance(instructions := request.get("instructions"), str):
        return instructions
    message = _first(request)
    if message is None or message.get("role") not in SYSTEM:
        return None
    content = message.get("content")
    if isinstance(content, list) and len(content) == 1 and isinstance(content[0], dict):
        content = content[0].get("text")
    return content if isinstance(content, str) else None


def write_system(request: Mapping[str, Any], text: str) -> dict[str, Any]:
    """Return the request with another system message where `read_system` found one.

    >>> write_system({"messages": [{"role": "system", "content": [{"type": "text", "text": "a"}]}]}, "b")
    {'messages': [{'role': 'system', 'content': [{'type': 'text', 'text': 'b'}]}]}
    """
    if isinstance(request.get("instructions"), str):
        return {**request, "instructions": text}
    name = _list_of(request)
    first, *rest = request[name]
    content = [{**first["content"][0], "text": text}] if isinstance(first["content"], list) else text
    return {**request, name: [{**first, "content": content}, *rest]}


def _list_of(request: Mapping[str, Any]) -> str:
    return "messages" if isinstance(request.get("messages"), list) else "input"


def _first(request: Mapping[str, Any]) -> Mapping[str, Any] | None:
    messages = request.get(_list_of(request))
    first = messages[0] if isinstance(messages, list) and messages else None
    return first if isinstance(first, dict) else None


def has_begun(request: Mapping[str, Any]) -> bool:
    """Tell whether somebody answered in the conversation already."""
    messages = request.get(_list_of(request))
    kinds = ("function_call", "reasoning")
    return request.get("previous_response_id") is not None or any(
        isinstance(each, dict) and (each.get("role") == "assistant" or each.get("type") in kinds)
        for each in (messages if isinstance(messages, list) else ())
    )
