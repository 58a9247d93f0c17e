"""AIR: the action whose tool calls do not fit the tools it was given."""

from collections.abc import Iterable
from typing import Any

from etl.dialects.spans import LlmCall
from foundation.json_schema import judge


def argument_schema(calls: Iterable[LlmCall]) -> dict[int, float]:
    """Return by call row minus the share of its tool calls that name no offered tool or do not fit its parameters.

    A call that asked for no tool, or whose offer is not wholly recorded, has no entry; nor has one that only schemas
    which cannot say would judge (`foundation.json_schema`).
    """
    measured: dict[int, float] = {}
    for call in calls:
        if not call.tools or "tools" in call.pieced:
            continue
        schemas = {tool["name"]: tool["parameters"] for tool in call.tools}
        asked = call.answer["tool_calls"] if call.answer is not None else ()
        judged = [fit for fit in (_fits(request, schemas) for request in asked) if fit is not None]
        if judged:
            measured[call.span.index] = -judged.count(False) / len(judged)
    return measured


def _fits(request: dict[str, Any], schemas: dict[str, Any]) -> bool | None:
    if request["name"] not in schemas:
        return False
    schema = schemas[request["name"]]
    return judge(request["arguments"] or {}, schema) if isinstance(schema, dict) else True
