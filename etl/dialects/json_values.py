"""Parses JSON that strangers recorded, as far as the rest of the ETL can walk and write it again."""

from typing import Any

import orjson

DEEPEST = 254
"""Levels that orjson writes."""

MARGIN = 64
"""Levels of them that are left for what is put around a value."""


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
