"""AIR: the answer that is not in the format it was asked for."""

from collections.abc import Iterable
from typing import Any

import orjson

from etl.dialects.spans import LlmCall
from foundation.json_schema import judge


def output_format(calls: Iterable[LlmCall]) -> dict[int, float]:
    """Return by call row 0 where the answer is the JSON that was asked for, -1 where it is not.

    A call that asked for no format, or answered with tool calls alone, has none; nor has one whose schema says nothing.
    """
    measured: dict[int, float] = {}
    for call in calls:
        wanted = call.params.get("response_format")
        kind = wanted.get("type") if isinstance(wanted, dict) else wanted
        text = call.answer.get("text") if call.answer is not None else None
        if kind in ("json_schema", "json_object") and text is not None:
            is_valid = _is_valid(text, wanted)
            if is_valid is not None:
                measured[call.span.index] = 0.0 if is_valid else -1.0
    return measured


def _is_valid(text: str, wanted: Any) -> bool | None:  # noqa: ANN401 - any JSON value
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    inner = wanted.get("json_schema") if isinstance(wanted, dict) else None
    schema = inner.get("schema") if isinstance(inner, dict) else None
    return judge(value, schema) if isinstance(schema, dict) else isinstance(value, dict)
