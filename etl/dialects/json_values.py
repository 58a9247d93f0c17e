"""Parses JSON that strangers recorded, whole, as text in text or cut off, as far as it can be written again."""

import ast
import re
from typing import Any

import orjson

DEEPEST = 254
"""Levels that orjson writes."""

MARGIN = 64
"""Levels of them that are left for what is put around a value."""

CUT_ROLE = re.compile(r'^[\s,]*\{\s*"role"\s*:\s*"(\w+)"')


def loads(text: str) -> Any:  # noqa: ANN401 - any JSON value
    """Parse JSON; raise `orjson.JSONDecodeError` where it is none, or nested deeper than 190 levels.

    >>> loads('[{"a": 1}]')
    [{'a': 1}]
    """
    value = orjson.loads(text)
    may_be_deep = text.count("[") + text.count("{") > DEEPEST - MARGIN
    if may_be_deep and not is_writable(value):
        raise orjson.JSONDecodeError("nested too deep", text, 0)
    return value


def is_writable(value: Any) -> bool:  # noqa: ANN401
    """Tell whether a value can be written as JSON, also inside others: not too deep, no number beyond 64 bits.

    >>> is_writable([2**63]), is_writable([2**64]), is_writable([{1, 2}])
    (True, False, False)
    """
    for _ in range(MARGIN):
        value = [value]
    try:
        orjson.dumps(value)
    except TypeError:
        return False
    return True


def decode(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    r"""Decode a string that holds a JSON object or array, or a Python literal of one, until it is none any more.

    >>> decode('"{\\"a\\": 1}"'), decode("{'a': 'b'}"), decode("plain")
    ({'a': 1}, {'a': 'b'}, 'plain')
    """
    while isinstance(value, str):
        stripped = value.strip()
        if not stripped or stripped[0] not in '{["':
            return value
        try:
            inner = loads(stripped)
        except orjson.JSONDecodeError:
            inner = _python_literal(stripped)
        if inner is None or (isinstance(inner, str) and inner == value):
            return value
        if isinstance(inner, str) and inner.strip()[:1] not in {"{", "["}:
            return value
        value = inner
    return value


def _python_literal(text: str) -> Any:  # noqa: ANN401
    if text[0] not in "{[":
        return None
    try:
        literal = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return literal if isinstance(literal, dict | list) and is_writable(literal) else None


def as_list(value: Any) -> list[Any] | None:  # noqa: ANN401
    """Return a recorded array, decoded if it came as JSON text; None when it is none."""
    value = decode(value)
    return value if isinstance(value, list) else None


def salvage_array(text: str) -> list[Any]:
    """Return the complete leading elements of a JSON array whose end was cut off.

    >>> salvage_array('[{"role":"user"},{"role":"assis')
    [{'role': 'user'}]
    """
    end = _end_of_last_element(text)
    if not end:
        return []
    try:
        elements = loads(text[:end] + "]")
    except orjson.JSONDecodeError:
        return []
    return elements if isinstance(elements, list) else []


def _end_of_last_element(text: str) -> int:
    depth, in_string, escaped, end = 0, False, False, 0
    for position, character in enumerate(text):
        if in_string:
            if escaped:
                escaped = False
            elif character == "\\":
                escaped = True
            elif character == '"':
                in_string = False
        elif character == '"':
            in_string = True
        elif character in "[{":
            depth += 1
        elif character in "]}":
            depth -= 1
            if depth == 1:
                end = position + 1
    return end


def salvage_messages(text: str) -> list[Any]:
    """Return the complete messages of a cut array, and an empty one for the message in which the cut lies.

    >>> salvage_messages('[{"role":"user","parts":[]},{"role":"assistant","parts":[{"type":"te')
    [{'role': 'user', 'parts': []}, {'role': 'assistant'}]
    """
    cut = CUT_ROLE.match(text[_end_of_last_element(text) or 1 :])
    return [*salvage_array(text), *([{"role": cut.group(1)}] if cut else [])]
