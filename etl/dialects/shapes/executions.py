"""Takes the arguments and results of tools out of what decorators, frameworks and protocols put around them."""

from typing import Any

from etl.dialects.shapes import langchain
from etl.dialects.shapes.json_values import decode
from etl.dialects.shapes.messages.names import content_of
from etl.dialects.shapes.messages.tools import call_arguments, encoded_result, result_text
from etl.dialects.shapes.reprs import read_fields

PASSED = {"args", "kwargs"}
"""How decorators record Python's own way of passing arguments."""


def tool_arguments(recorded: Any) -> Any:  # noqa: ANN401 - any attribute value
    """Return the arguments of an execution out of what decorators and frameworks put around them.

    >>> tool_arguments('{"args": [], "kwargs": {"city": "Oslo"}}'), tool_arguments('{"input": {"a": 1}, "id": "i"}')
    ({'city': 'Oslo'}, {'a': 1})
    """
    value = call_arguments(recorded)
    if isinstance(value, dict) and value.get("role") == "tool" and "content" in value:  # as if somebody had said them
        return tool_arguments(value["content"])
    if not isinstance(value, dict):
        return value
    if set(value) == PASSED:
        positional, named = value["args"], value["kwargs"]
        if not positional:
            return named
        return positional[0] if len(positional) == 1 and isinstance(positional[0], dict) and not named else None
    inner = value.get("input", value.get("arguments", value.get("args")))
    if isinstance(inner, dict) and set(value) <= ENVELOPE:
        return inner
    if "input_str" in value:
        return call_arguments(value["input_str"])
    return value


ENVELOPE = {
    "input",
    "arguments",
    "args",
    "options",
    "context",
    "name",
    "id",
    "tool_call_id",
    "type",
    "toolCallId",
    "tool_name",
    "toolName",
    "config",
}
"""Keys of a box around the arguments of a tool."""


def tool_result(recorded: Any) -> str | None:  # noqa: ANN401 - any attribute value
    """Return the result of an execution out of what decorators and frameworks put around it.

    >>> tool_result('"84"'), tool_result('{"output": {"lc": 1, "kwargs": {"content": "84"}}}'), tool_result('{"a": 1}')
    ('84', '84', '{"a": 1}')
    """
    whole = value = decode(recorded)
    for _ in range(BOXES_DEEP):
        value = _opened(value)
    if isinstance(value, str):
        fields = read_fields(value)
        is_message = fields is not None and isinstance(fields.get("content"), str)
        return fields["content"] if fields is not None and is_message else encoded_result(value)
    if value is whole and isinstance(recorded, str):
        blocks = content_of(recorded)
        return result_text(blocks) if isinstance(blocks, list) else encoded_result(recorded)
    return result_text(value)


CALLBACK = {"output", "result", "kwargs"}
"""Keys of what LangChain's callbacks are told of the end of a tool."""

BOXES_DEEP = 4
"""How many boxes a result may be in."""


def _opened(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Return what is in the box around a result, the value itself where there is none."""
    value = langchain.content_of(value)
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict) and value[0].get("role") == "tool":
        return value[0].get("content")
    if isinstance(value, list) and len(value) == 1 and _is_typed(value[0]):
        value = value[0]
    if not isinstance(value, dict):
        return value
    inner = value.get("output", value.get("result"))
    if set(value) <= CALLBACK and (isinstance(inner, str) or langchain.is_langchain(inner)):
        return inner
    if _is_typed(value):
        return value.get("value", value.get("text"))
    return value


def _is_typed(value: Any) -> bool:  # noqa: ANN401 - any JSON value
    """Tell whether this is a result in the box that says whether it is text or data."""
    return isinstance(value, dict) and value.get("type") in {"text", "json"} and set(value) <= {"type", "value", "text"}
