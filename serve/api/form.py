"""The form of an answer: tool calls nobody could read, calls that fit no schema, refusals. Nothing of its quality."""

import re
from collections.abc import Mapping
from typing import Any

import orjson

CALL_MARKS = re.compile(r"<tool_call>|<\|tool_call|\[TOOL_CALLS\]|<function[=_]|<\|python_tag\|>")
"""How model families begin a tool call. Left in the text, it is one that could not be read."""

REFUSALS = re.compile(
    r"\s*(?:i['\u2019]?m (?:very |really )?sorry|sorry|i apologi[sz]e|unfortunately)?[,.;:]?\s*(?:but )?"
    r"(?:i (?:can(?:['\u2019]t|not)|won['\u2019]t|must decline)|i(?: am|['\u2019]?m) (?:not able|unable) to"
    r"|as an ai\b)",
    re.IGNORECASE,
)
"""How English refusals begin; what an API marks as a refusal is one in any language."""


def fits(call: Mapping[str, Any], schemas: Mapping[str, Any]) -> bool:
    """Tell whether a call names a tool that was offered, with arguments of its schema; a null schema takes any object.

    >>> fits({"name": "add", "arguments": '{"a": 1}'}, {"add": None}), fits({"name": "go", "arguments": ""}, {})
    (True, False)
    """
    if call["name"] not in schemas:
        return False
    try:
        arguments = orjson.loads(call["arguments"] or "{}")
    except orjson.JSONDecodeError:
        return False
    schema = schemas[call["name"]]
    return isinstance(arguments, dict) and (not isinstance(schema, dict) or _is_valid(arguments, schema))


def _is_valid(arguments: dict[str, Any], schema: dict[str, Any]) -> bool:
    """Tell whether arguments are valid; a schema that cannot say forbids nothing."""
    from foundation.json_schema import judge  # deferred: few ask, and jsonschema is large

    return judge(arguments, schema) is not False
