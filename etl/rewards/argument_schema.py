"""AIR: the action whose tool calls do not fit the tools it was given."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import orjson
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from etl.dialects.spans import LlmCall


def argument_schema(calls: Iterable[LlmCall]) -> dict[int, float]:
    """Return by call row minus the share of its tool calls that name no offered tool or do not fit its parameters.

    A call that asked for no tool, or whose offer is not wholly recorded, has no entry.
    """
    measured: dict[int, float] = {}
    for call in calls:
        if not call.tools or "tools" in call.pieced:
            continue
        asked = [request for message in call.output or () for request in message["tool_calls"]]
        if not asked:
            continue
        schemas = {tool["name"]: tool["parameters"] for tool in call.tools}
        wrong = sum(not _fits(request, schemas) for request in asked)
        measured[call.span.index] = -wrong / len(asked)
    return measured


def _fits(request: dict[str, Any], schemas: dict[str, Any]) -> bool:
    if request["name"] not in schemas:
        return False
    schema = schemas[request["name"]]
    return not isinstance(schema, dict) or fits(request["arguments"] or {}, schema)


def fits(value: Any, schema: dict[str, Any]) -> bool:  # noqa: ANN401 - any JSON value
    """Tell whether a value is valid by a JSON schema; a schema that is none itself forbids nothing."""
    validator = _validator(orjson.dumps(schema, option=orjson.OPT_SORT_KEYS))
    return validator is None or bool(validator.is_valid(value))


@lru_cache(maxsize=1024)
def _validator(schema: bytes) -> Draft202012Validator | None:
    parsed = orjson.loads(schema)
    try:
        Draft202012Validator.check_schema(parsed)
    except SchemaError:
        return None
    return Draft202012Validator(parsed)
