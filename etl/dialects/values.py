"""Reads single attribute values whose type varies between writers."""

import re
from collections.abc import Mapping
from typing import Any

from etl.dialects.messages import decode

Attributes = Mapping[str, Any]

HTTP_STATUS = re.compile(r"\b(?:Error code|status(?: code)?|HTTP)[: ]+(\d{3})\b", re.IGNORECASE)

STATUS_PREFIX = re.compile(r"^(?:[\w.]*(?:Error|Exception): )?Error code: \d{3} - ")
"""What OpenAI's and Anthropic's clients put before the server's own words."""


def text_of(attributes: Attributes, *names: str) -> str | None:
    """Return the first of these attributes that holds a non-empty string."""
    for name in names:
        value = attributes.get(name)
        if isinstance(value, str) and value:
            return value
    return None


def integer_of(attributes: Attributes, *names: str) -> int | None:
    """Return the first of these attributes that is a whole number, also where it came as text or double.

    >>> integer_of({"a": "12"}, "a"), integer_of({"a": 3.0}, "a"), integer_of({"a": True}, "a")
    (12, 3, None)
    """
    for name in names:
        value = attributes.get(name)
        if isinstance(value, bool) or value is None:
            continue
        try:
            number = float(value)
        except (TypeError, ValueError):
            continue
        if number == int(number):
            return int(number)
    return None


def number_of(attributes: Attributes, *names: str) -> float | None:
    """Return the first of these attributes that is a number, also where it came as text."""
    for name in names:
        value = attributes.get(name)
        if isinstance(value, bool) or value is None:
            continue
        try:
            return float(value)
        except (TypeError, ValueError):
            continue
    return None


def flag_of(attributes: Attributes, *names: str) -> bool | None:
    """Return the first of these attributes that is a truth value, also where it came as text."""
    for name in names:
        value = attributes.get(name)
        if isinstance(value, bool):
            return value
        if isinstance(value, str) and value.lower() in {"true", "false"}:
            return value.lower() == "true"
    return None


def strings_of(attributes: Attributes, name: str) -> list[str]:
    """Return a list of strings, also where the array came as JSON text or as one string."""
    value = decode(attributes.get(name))
    if isinstance(value, list):
        return [str(item) for item in value if item is not None]
    return [value] if isinstance(value, str) and value else []


def numbered(attributes: Attributes, prefix: str) -> dict[int, dict[str, Any]]:
    """Collect `<prefix>.N.<rest>` as {N: {rest: value}}; N need not begin at 0 nor be without gaps.

    >>> numbered({"m.1.role": "user", "m.1.content": "hi", "other": 1}, "m")
    {1: {'role': 'user', 'content': 'hi'}}
    """
    found: dict[int, dict[str, Any]] = {}
    start = prefix + "."
    skip = len(start)
    for key, value in attributes.items():
        if key.startswith(start):
            head, _, rest = key[skip:].partition(".")
            if head.isdigit():
                found.setdefault(int(head), {})[rest] = value
    return dict(sorted(found.items()))


def usage_of(**counts: int | None) -> dict[str, int | None] | None:
    """Return canonical usage; None when no count was recorded."""
    usage = {
        name: counts.get(name) for name in ("input_tokens", "output_tokens", "cached_input_tokens", "reasoning_tokens")
    }
    return usage if any(count is not None for count in usage.values()) else None


def error_of(message: str | None, kind: str | None = None) -> dict[str, Any]:
    """Return a canonical error: HTTP status, the provider's code and its own words, as far as the text holds them.

    >>> error_of("Error code: 429 - {'error': {'message': 'Slow down', 'code': 'rate_limit'}}")
    {'http_status': 429, 'code': 'rate_limit', 'message': 'Slow down', 'type': None}
    """
    status: int | None = None
    code: str | None = None
    if message:
        match = HTTP_STATUS.search(message)
        status = int(match.group(1)) if match else None
        brace = message.find("{")
        body = decode(message[brace:].strip()) if brace >= 0 else None
        if isinstance(body, dict):
            error = body.get("error")
            if isinstance(error, str):  # openai-agents: {'error': "Error code: 500 - …"}
                return error_of(error, kind)
            inner = error if isinstance(error, dict) else body
            code = next((inner[key] for key in ("code", "type") if isinstance(inner.get(key), str)), None)
            message = inner["message"] if isinstance(inner.get("message"), str) else message
        else:
            message = STATUS_PREFIX.sub("", message)
    return {"http_status": status, "code": code, "message": message or None, "type": kind}
