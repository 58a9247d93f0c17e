"""Bodies of requests: JSON as clients write it, read as far as it can be, and never deeper than anything needs."""

import json
from typing import Any

import orjson

from serve.api.answers import Json

MAX_DEPTH = 64
"""Objects and lists within each other. No request needs so many, and what walks them may be recursive."""


class MalformedRequest(ValueError):
    """A body that cannot be a request; the message is for the client and quotes nothing of it."""


def read_object(body: bytes) -> Json:
    r"""Read a JSON object. Half a surrogate pair, which JavaScript leaves where it cuts an emoji, reads as U+FFFD.

    >>> read_object(b'{"a": "x\\ud83d"}')
    {'a': 'x\ufffd'}
    """
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        found = _read_leniently(body, str(error))
    if not isinstance(found, dict):
        raise MalformedRequest("the body is not a JSON object")
    if _is_deeper(found, MAX_DEPTH):
        raise MalformedRequest(f"the body has more than {MAX_DEPTH} objects and lists within each other")
    return found


def _read_leniently(body: bytes, problem: str) -> Any:  # noqa: ANN401 - a JSON value
    if b"\\u" not in body:
        raise MalformedRequest(f"the body is not JSON: {problem}")
    try:
        found = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise MalformedRequest(f"the body is not JSON: {problem}") from None
    if _is_deeper(found, MAX_DEPTH):
        raise MalformedRequest(f"the body has more than {MAX_DEPTH} objects and lists within each other")
    return _without_halves(found)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _without_halves(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_without_halves(one) for one in value]
    if isinstance(value, dict):
        return {_without_halves(name): _without_halves(one) for name, one in value.items()}
    return value


def _is_deeper(value: Any, limit: int) -> bool:  # noqa: ANN401
    level = [value]
    for _ in range(limit):
        level = [
            inner
            for one in level
            for inner in (one.values() if isinstance(one, dict) else one)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True
