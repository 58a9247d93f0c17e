"""A tool's execution, in whichever library's form."""

import json
from typing import Any

import pytest

from etl.dialects.openinference.tools import read_tool
from etl.dialects.spans import ToolCall
from tests.unit.etl.calls.made import seen

SCHEMA = {"type": "object", "properties": {"at": {"type": "string"}}}


def ran(*, failed: bool = False, **fields: Any) -> ToolCall:
    """Read a tool's span; `__` in a name stands for a dot, and what is no text is JSON."""
    span = seen().span
    span.status_code = "error" if failed else None
    span.attributes = {
        name.replace("__", "."): value if isinstance(value, str) else json.dumps(value)
        for name, value in fields.items()
    }
    return read_tool(span)


@pytest.mark.parametrize(
    ("given", "parameters", "arguments"),
    [
        ({"at": "sky"}, SCHEMA, {"at": "sky"}),
        ({"args": ["sky"], "kwargs": {"how": "long"}}, {"at": {"type": "string"}}, {"at": "sky", "how": "long"}),
        ({"args": ["sky"], "kwargs": {}, "sanitize_inputs_outputs": True}, {"at": {"type": "string"}}, {"at": "sky"}),
        ({"kwargs": {"at": "sky"}}, SCHEMA, {"at": "sky"}),
        ({"kwargs": {"at": "sky"}, "own": 1}, SCHEMA, {"kwargs": {"at": "sky"}, "own": 1}),
        ({"kwargs": "sky"}, SCHEMA, {"kwargs": "sky"}),
        ("x", {"at": "sky"}, {"at": "sky"}),
    ],
)
def test_arguments_are_what_the_function_was_given(given: Any, parameters: Any, arguments: Any) -> None:
    """Out of Python's way of passing them, if that is all there is; or where AutoGen and Agno put them."""
    assert ran(input__value=given, tool__parameters=parameters).arguments == arguments


def test_a_schema_is_told_from_arguments() -> None:
    """Smolagents' inputs are the properties of one."""
    inputs = {"at": {"type": "string"}}

    assert ran(tool__parameters=SCHEMA).parameters == SCHEMA
    assert ran(tool__parameters=inputs).parameters == {"type": "object", "properties": inputs}
    assert [ran(tool__parameters=value).parameters for value in ({}, {"at": "sky"}, "no JSON")] == [None] * 3


MESSAGE = {"content": "blue", "tool_call_id": "c1"}


@pytest.mark.parametrize(
    "output",
    [
        {"type": "tool", **MESSAGE},
        {"output": {"type": "tool", **MESSAGE}},
        {"type": "tool", "data": MESSAGE},
        {"lc": 1, "type": "constructor", "id": ["a", "ToolMessage"], "kwargs": MESSAGE},
    ],
)
def test_a_message_that_a_tool_returned_tells_result_and_id(output: Any) -> None:
    """LangChain's, in the forms of Python and of JavaScript."""
    tool = ran(output__value=output, output__mime_type="application/json")

    assert (tool.result, tool.tool_call_id) == ("blue", "c1")


def test_a_message_with_status_error_is_one() -> None:
    """The span ended well: the framework told the model of the failure; without words it is still one."""
    told, mute = (
        ran(output__value={"type": "tool", "status": "error", "content": said}, output__mime_type="application/json")
        for said in ("fog", "")
    )

    assert (told.result, told.error) == (None, "fog")
    assert (mute.result, bool(mute.error)) == (None, True)


def test_a_failed_span_gave_no_result() -> None:
    """Its error is its status or its exception, and its own id and name stand."""
    tool = ran(failed=True, output__value="half", tool_call__id="c2", tool__name="look", tool__description="Looks.")

    assert (tool.result, tool.error, tool.tool_call_id) == (None, "error", "c2")
    assert (tool.name, tool.description, ran().name) == ("look", "Looks.", "chat")


def test_json_that_is_no_message_is_the_result_itself() -> None:
    """Also where the same JSON would be a message, and is not said to be JSON."""
    data = json.dumps({"type": "tool", **MESSAGE})

    assert ran(output__value=data).result == data
    assert ran(output__value='{"a": 1}', output__mime_type="application/json").result == '{"a": 1}'
    assert (
        ran(output__value='{"blocks": [{"text": "x"}], "raw_output": 1}', output__mime_type="application/json").result
        == "x"
    )
