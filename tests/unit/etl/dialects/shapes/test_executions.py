"""Arguments and results are taken out of their boxes, and nothing that is theirs is taken for a box."""

import json
from typing import Any

import pytest

from etl.dialects.shapes.executions import tool_arguments, tool_result


@pytest.mark.parametrize(
    ("recorded", "expected"),
    [
        ({"args": [], "kwargs": {"city": "Oslo"}}, {"city": "Oslo"}),
        ({"args": [{"city": "Oslo"}], "kwargs": {}}, {"city": "Oslo"}),
        ({"args": ["Oslo"], "kwargs": {}}, None),
        ({"input": {"city": "Oslo"}, "id": "call_1", "type": "tool_use"}, {"city": "Oslo"}),
        ({"tool_name": "weather", "arguments": {"city": "Oslo"}}, {"city": "Oslo"}),
        ({"input": {"city": "Oslo"}, "country": "NO"}, {"input": {"city": "Oslo"}, "country": "NO"}),
        ({"input_str": "{'city': 'Oslo'}"}, {"city": "Oslo"}),
        ({"role": "tool", "content": '{"city": "Oslo"}'}, {"city": "Oslo"}),
        ({"args": "all", "kwargs": "none", "more": 1}, {"args": "all", "kwargs": "none", "more": 1}),
    ],
)
def test_arguments(recorded: Any, expected: Any) -> None:
    """As an object and as its JSON alike; by position they have no names."""
    assert tool_arguments(recorded) == expected
    assert tool_arguments(json.dumps(recorded)) == expected


@pytest.mark.parametrize(
    ("recorded", "expected"),
    [
        ("84", "84"),
        ('"84"', "84"),
        ({"output": {"lc": 1, "kwargs": {"content": "84"}}}, "84"),
        ([{"role": "tool", "content": "84", "tool_call_id": "c"}], "84"),
        ({"type": "text", "value": "84"}, "84"),
        ("content='84' name='calculator' tool_call_id='c'", "84"),
        ({"result": "84", "unit": "eggs"}, '{"result": "84", "unit": "eggs"}'),
    ],
)
def test_results(recorded: Any, expected: str) -> None:
    """A message around it, a callback's box, a block of text; other keys beside it make it the tool's own object."""
    found = tool_result(recorded if isinstance(recorded, str) else json.dumps(recorded))

    assert found is not None
    assert (found, json.loads(found)) == (expected, json.loads(expected))
