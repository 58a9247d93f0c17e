"""Reads single attribute values whose type varies between writers."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from etl.dialects.shapes.json_values import decode

Attributes = Mapping[str, Any]

HTTP_STATUS = re.compile(r"\b(?:Error code|status(?: code)?|HTTP)[: ]+(\d{3})\b", re.IGNORECASE)

CLIENT_ERROR = re.compile(r"Error code: (\d{3}) - ")
"""What OpenAI's and Anthropic's clients put before the server's own words."""

STATUS_FIRST = re.compile(r"^(?:[A-Za-z_.]+: )?([45]\d{2}) (?!\d)(.+)$", re.DOTALL)
"""How OpenAI's and Anthropic's clients in JavaScript word an error: the status, then the server's own words."""

STACK = re.compile(r"\s*\n\s*(?:\n[A-Za-z]*Error: |at [\w.<]).*$", re.DOTALL)
"""A stack trace of JavaScript behind an error's words."""

AWS_ERROR = re.compile(r"An error occurred \((\w+)\) when calling the \w+ operation(?: \([^)]*\))?: (.*)", re.DOTALL)
"""How botocore words an error: its code, and the service's own words."""

LARGEST = 2.0**63
"""Columns hold 64 bits."""

BRACE = re.compile(r"[{}]")

REPR_END = re.compile(r"""['"][,)].*$""", re.DOTALL)
"""Where an exception ends that stands inside another's words as Python's repr writes it."""


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
        if value is None or isinstance(value, bool):
            continue
        if type(value) is int and abs(value) < LARGEST:
            return value
        try:
            number = float(value)
        except (TypeError, ValueError):
            continue
        if number.is_integer() and abs(number) < LARGEST:
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


def score_of(attributes: Attributes, *names: str) -> float | None:
    """Return the first of these attributes that is a number or a truth value, also where it came as text.

    >>> [score_of({"a": value}, "a") for value in (True, "false", "0.5", 2, "good")]
    [1.0, 0.0, 0.5, 2.0, None]
    """
    for name in names:
        flag = flag_of(attributes, name)
        number = number_of(attributes, name) if flag is None else float(flag)
        if number is not None:
            return number
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
    value = attributes.get(name)
    if value is None:
        return []
    value = decode(value)
    if isinstance(value, list):
        return [str(item) for item in value if item is not None]
    return [value] if isinstance(value, str) and value else []


def any_begins(attributes: Attributes, start: str) -> bool:
    """Tell whether an attribute's name begins so."""
    return "\n" + start in "\n" + "\n".join(attributes)  # names hold no line breaks; a loop takes ten times as long


def numbered(attributes: Attributes, prefix: str) -> dict[int, dict[str, Any]]:
    """Collect `<prefix>.N.<rest>` as {N: {rest: value}}; N need not begin at 0 nor be without gaps.

    >>> numbered({"m.1.role": "user", "m.1.content": "hi", "other": 1}, "m")
    {1: {'role': 'user', 'content': 'hi'}}
    """
    return {
        number: {rest: attributes[name] for rest, name in fields}
        for number, fields in _numbered_names(prefix + ".", tuple(attributes))
    }


@lru_cache(maxsize=1024)
def _numbered_names(start: str, names: tuple[str, ...]) -> list[tuple[int, list[tuple[str, str]]]]:
    """Return by number, in order, which names begin with `start` and a number, and what follows it.

    Spans of one producer have the same few sets of names, so these are taken apart once.
    """
    found: dict[int, dict[str, str]] = {}
    for name in names:
        if name.startswith(start):
            head, _, rest = name[len(start) :].partition(".")
            if head.isdigit():
                found.setdefault(int(head), {})[rest] = name
    return [(number, list(fields.items())) for number, fields in sorted(found.items())]


def usage_of(
    *,
    input_tokens: int | None = None,
    output_tokens: int | None = None,
    cached_input_tokens: int | None = None,
    reasoning_tokens: int | None = None,
) -> dict[str, int | None] | None:
    """Return canonical usage; None when no count was recorded."""
    if input_tokens is output_tokens is cached_input_tokens is reasoning_tokens is None:
        return None
    return {
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
        "cached_input_tokens": cached_input_tokens,
        "reasoning_tokens": reasoning_tokens,
    }


def complete_usage(
    usage: dict[str, int | None] | None, other: dict[str, int | None] | None
) -> dict[str, int | None] | None:
    """Return usage with its unknown counts taken from another recording of the same."""
    if usage is None or other is None:
        return usage or other
    return {name: other[name] if count is None else count for name, count in usage.items()}


def error_of(message: str | None, kind: str | None = None) -> dict[str, Any]:
    """Return a canonical error: HTTP status, the provider's code and its own words, as far as the text holds them.

    >>> error_of("Error code: 429 - {'error': {'message': 'Slow down', 'code': 'rate_limit'}}")
    {'http_status': 429, 'code': 'rate_limit', 'message': 'Slow down', 'type': None}
    """
    status: int | None = None
    code: str | None = None
    first = STATUS_FIRST.match(message or "")
    if first is not None:
        found = error_of(STACK.sub("", first.group(2)), kind)
        return {**found, "http_status": found["http_status"] or int(first.group(1))}
    if message:
        match = HTTP_STATUS.search(message)
        status = int(match.group(1)) if match else None
        body = _error_body(message)
        client = CLIENT_ERROR.search(message)
        if body is not None:
            inner_text = next((text for text in (body.get("error"), _data_error(body)) if isinstance(text, str)), None)
            if inner_text is not None:  # openai-agents: {'error': "Error code: 500 - …"}, also below 'data'
                return error_of(inner_text, kind)
            error = body.get("error")
            inner = error if isinstance(error, dict) else body
            code = next((inner[key] for key in ("code", "type", "status") if isinstance(inner.get(key), str)), None)
            status = status or integer_of(inner, "code")  # Google's
            message = inner["message"] if isinstance(inner.get("message"), str) else message
        elif (aws := AWS_ERROR.search(message)) is not None:
            code, message = aws.group(1), aws.group(2)
        elif client is not None:
            is_quoted = any(quote in message[: client.start()] for quote in "'\"")
            message = message[client.end() :]
            message = REPR_END.sub("", message) if is_quoted else message
    return {"http_status": status, "code": code, "message": message or None, "type": kind}


def _error_body(message: str) -> dict[str, Any] | None:
    """Return the object that stands in an error's words, also where another exception's words are around it."""
    start = message.find("{")
    if start < 0:
        return None
    ends = [len(message), message.rfind("}") + 1, _end_of_object(message, start)]
    bodies = (decode(message[start:end].strip()) for end in ends)
    return next((body for body in bodies if isinstance(body, dict)), None)


def _end_of_object(text: str, start: int) -> int:
    """Return where the object ends that begins here: a stack trace after it may hold braces of its own."""
    depth = 0
    for brace in BRACE.finditer(text, start):
        depth += 1 if brace.group() == "{" else -1
        if depth == 0:
            return brace.end()
    return len(text)


def _data_error(body: dict[str, Any]) -> Any:  # noqa: ANN401 - any JSON value
    data = body.get("data")
    return data.get("error") if isinstance(data, dict) else None
