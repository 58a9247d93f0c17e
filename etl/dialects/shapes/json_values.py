"""Parses JSON that strangers recorded, whole, as text in text or cut off, as far as it can be written again."""

import ast
import json
import re
from typing import Any

import orjson

DEEPEST = 254
"""Levels that orjson writes."""

MARGIN = 64
"""Levels of them that are left for what is put around a value."""

CUT_ROLE = re.compile(r'^[\s,]*\{\s*"role"\s*:\s*"(\w+)"')


MANY_DIGITS = re.compile("[0-9]{19}")
"""What an integer beyond 64 bits has; orjson rounds it."""

ESCAPE = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<half>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)"
)
"""An escape within JSON; a half of a pair of surrogates alone is no character."""


class Number(str):
    """A number that JSON's readers spoil, as it was written: beyond 64 bits, NaN, or infinite.

    Never in a canonical value: `exact` makes the text of a value that holds one.
    """

    __slots__ = ()


def loads(text: str) -> Any:  # noqa: ANN401 - any JSON value
    """Parse JSON; raise `orjson.JSONDecodeError` where it is none, or nested deeper than 190 levels.

    What Python and JavaScript write beyond the standard is read as they would: NaN, Infinity, integers of any length,
    and half an emoji, which is U+FFFD.

    >>> loads('[{"a": 1}]'), loads('{"a": NaN, "b": 123456789012345678901234567890}')
    ([{'a': 1}], {'a': 'NaN', 'b': '123456789012345678901234567890'})
    """
    if _has_many_digits(text):
        value = _loads_beyond(text)
    else:
        try:
            value = orjson.loads(text)
        except orjson.JSONDecodeError:
            value = _loads_beyond(text)
    may_be_deep = text.count("[") + text.count("{") > DEEPEST - MARGIN
    if may_be_deep and not is_writable(value):
        raise orjson.JSONDecodeError("nested too deep", text, 0)
    return value


def _has_many_digits(text: str) -> bool:
    """Tell whether a text, of an object that has keys or texts, holds an integer that may be beyond 64 bits.

    Nineteen digits on end have three at every sixth place: a sixth of the text is looked at in place of all of it.
    """
    return '"' in text and SAMPLED.search(text[::6]) is not None and MANY_DIGITS.search(text) is not None


SAMPLED = re.compile("[0-9]{3}")


def _loads_beyond(text: str) -> Any:  # noqa: ANN401 - any JSON value
    if "\\u" in text:
        text = ESCAPE.sub(lambda found: "\\ufffd" if found["half"] else found[0], text)
    if "NaN" not in text and "Infinity" not in text and MANY_DIGITS.search(text) is None:
        return orjson.loads(text)
    try:
        return json.loads(text, parse_int=_integer, parse_float=_decimal, parse_constant=Number)
    except (json.JSONDecodeError, RecursionError) as error:
        raise orjson.JSONDecodeError(str(error), text, 0) from error


def _integer(digits: str) -> int | Number:
    value = int(digits) if len(digits) < LONGEST_INTEGER else None
    return value if value is not None and -(2**63) <= value < 2**64 else Number(digits)


def _decimal(digits: str) -> float | Number:
    value = float(digits)
    mantissa = digits.lower().partition("e")[0].replace(".", "").strip("-0")
    return value if value - value == 0 and len(mantissa) <= DIGITS_OF_A_DOUBLE else Number(digits)


DIGITS_OF_A_DOUBLE = 17

MOST_DIGITS = 4000
"""Digits of an integer that Python writes."""

LONGEST_INTEGER = 21
"""Characters of an integer of 64 bits."""


def exact(value: Any) -> str | None:  # noqa: ANN401 - any JSON value
    """Return the text of a value that holds a number no reader keeps; None for any other.

    >>> exact(loads('{"wei": 123456789012345678901234567890}')), exact({"wei": 1})
    ('{"wei": 123456789012345678901234567890}', None)
    """
    if not _holds_number(value):
        return None
    return WRITTEN.sub(r"\1", json.dumps(_with_numbers(value), ensure_ascii=False))


def _holds_number(value: Any) -> bool:  # noqa: ANN401
    if isinstance(value, dict):
        return any(_holds_number(item) for item in value.values())
    if isinstance(value, list):
        return any(_holds_number(item) for item in value)
    return type(value) is Number


def _with_numbers(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, dict):
        return {key: _with_numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_numbers(item) for item in value]
    if type(value) is Number and len(value) < MOST_DIGITS:
        return f"\0{value}\0"
    return value


WRITTEN = re.compile(r'"\\u0000(-?[0-9A-Za-z.+-]+)\\u0000"')
"""A number as it was written, on its way into JSON."""


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
    except (ValueError, SyntaxError, MemoryError, RecursionError, SystemError):
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
