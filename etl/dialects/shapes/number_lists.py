"""Token ids and log-probabilities as arrays, from the text of a span's attributes: no Python object for each number."""

import warnings
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from etl.dialects.shapes.json_values import decode
from otel_exporter import schema as names

Ids = NDArray[np.int64]
Logprobs = NDArray[np.float64]

OWN = names.PROMPT_TOKEN_IDS.partition(".")[0] + "."
OTHERS = {"prompt_token_ids", "response_token_ids"}
ENDS = ("token_ids", "logprobs")
"""Attributes that are taken out: those of the gateway, and agent-lightning's."""

FEWEST = 64
"""Bytes of numbers below which it is not worth while."""

NO_ID = 2**31
"""Stands for an integer that is no token id, so that it is found to be none."""


def object_with_arrays(text: str) -> dict[str, Any] | None:
    """Return a JSON object whose long lists of numbers, under the names above, are arrays; None where it has none.

    >>> ids = ",".join(["12345"] * 20)
    >>> object_with_arrays('{"a":1,"prompt_token_ids":[' + ids + "]}")["prompt_token_ids"].sum()
    np.int64(246900)
    """
    arrays: dict[str, NDArray[Any]] = {}
    pieces: list[str] = []
    last = 0
    for begin, key in sorted(_keys(text)):
        end = text.find("]", begin)
        array = _numbers(text[begin:end].encode()) if end - begin >= FEWEST else None
        if array is not None and begin > last:
            if key in arrays:
                return None  # one of the two is in an object within the object
            arrays[key] = array
            pieces += [text[last : begin - 1], "0"]
            last = end + 1
    if not arrays:
        return None
    try:
        value = orjson.loads("".join([*pieces, text[last:]]))
    except orjson.JSONDecodeError:
        return None
    is_whole = isinstance(value, dict) and all(value.get(key) == 0 for key in arrays)
    return {**value, **arrays} if is_whole else None


def _keys(text: str) -> list[tuple[int, str]]:
    """Return the names of lists that may be taken out, and where their items begin."""
    found = []
    for end in ENDS:
        mark = f'{end}":['
        at = text.find(mark)
        while at >= 0:
            key = text[text.rfind('"', 0, at) + 1 : at] + end
            if key.startswith(OWN) or key in OTHERS:
                found.append((at + len(mark), key))
            at = text.find(mark, at + 1)
    return found


def _numbers(text: bytes) -> NDArray[Any] | None:
    """Parse numbers with commas between them; None where something else is among them."""
    kind: type[Any] = np.int64 if not text.translate(None, b"0123456789,") else np.float64
    if kind is np.float64 and text.translate(None, b"0123456789,.eE+-"):
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            values = np.fromstring(text.decode(), dtype=kind, sep=",")
        except (DeprecationWarning, ValueError):
            return None
    return values if len(values) == text.count(b",") + 1 else None


def integers(value: Any) -> Ids | None:  # noqa: ANN401 - any JSON value, or an array
    """Return a list of integers as an array; None where it is none, or empty.

    >>> integers([1, 2]), integers("[3]"), integers([1.5]), integers([])
    (array([1, 2]), array([3]), None, None)
    """
    if isinstance(value, np.ndarray):
        return value if value.dtype == np.int64 else None
    items = decode(value)
    if not isinstance(items, list) or not items or not all(isinstance(item, int) for item in items):
        return None
    return np.array([item if -NO_ID <= item <= NO_ID else NO_ID for item in items], dtype=np.int64)


def whole_numbers(value: Any) -> Ids | None:  # noqa: ANN401 - any JSON value, or an array
    """Return a list of numbers as an array of integers; those of a list that was written as doubles, too."""
    found = integers(value)
    if found is not None:
        return found
    items = decode(value)
    return integers([int(item) for item in items]) if isinstance(items, list) else None


def numbers(value: Any) -> Logprobs | None:  # noqa: ANN401 - any JSON value, or an array
    """Return a list of numbers as an array; None where it is none, or empty."""
    if isinstance(value, np.ndarray):
        return value.astype(np.float64)
    items = decode(value)
    if not isinstance(items, list) or not items or not all(isinstance(item, int | float) for item in items):
        return None
    return np.array(items, dtype=np.float64)
