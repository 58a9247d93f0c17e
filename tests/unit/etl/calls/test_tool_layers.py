"""An execution that two layers traced is one; executions that are alike and parallel are several."""

import json
from typing import Any

import pytest

from etl.settings import EtlConfig
from etl.tables import Dataset
from etl.transform import transform
from tests.spans import Span, agent, identifier, llm, logs_frame, span, spans_frame, tool

ASKS = [("c1", "mcp__weather__get_weather", {"city": "Oslo"})]
FAILED: dict[str, Any] = {"status": "error", "message": "boom"}
WHERE = {"city": "Oslo"}


def run(*spans: Span) -> Dataset:
    """Run the ETL over an episode with one call that asks for a tool."""
    root, asking = span("root", end=30), llm("ask", parent="root", start=1, end=2, calls=ASKS)
    last = llm("last", parent="root", start=20, end=21, said="Sorry.")
    return transform(spans_frame([root, asking, *spans, last]), logs_frame(), EtlConfig(complete_after=0))


def outer(**rest: Any) -> Span:
    """Return the framework's span."""
    given: dict[str, Any] = {"start": 3, "end": 6, "call_id": "c1", "arguments": WHERE, **FAILED, **rest}
    return tool("outer", parent="root", tool_name="mcp__weather__get_weather", **given)


@pytest.mark.parametrize("inner_name", ["get_weather", "weather.get_weather", "tools/call get_weather"])
@pytest.mark.parametrize("parent", ["outer", "between", "root"])
def test_an_execution_seen_by_a_framework_and_a_client_is_one(inner_name: str, parent: str) -> None:
    """Below it, some spans below it, or beside it; whatever stands before the tool's name."""
    between = span("between", parent="outer", start=3.2, end=5.8)
    inner = tool("inner", parent=parent, tool_name=inner_name, start=3.5, end=5.5, arguments=WHERE, **FAILED)

    dataset = run(outer(), between, inner)

    assert dataset.tables["tool_calls"].height == 1
    assert dataset.tables["tool_calls"]["caused_by_span_id"].to_list() == [identifier("ask", 16)]
    assert dataset.tables["transitions"]["reward_tool_status"].to_list() == [-0.1, None]


def test_a_clients_span_without_arguments_is_the_execution_it_is_in() -> None:
    """Whatever joins the server's name and the tool's; of a name that only begins alike nothing says so."""
    method = {"mcp.method.name": "tools/call", "gen_ai.operation.name": "execute_tool"}
    heights = []
    for name in ("get_weather", "get"):
        inner = span("inner", parent="outer", start=4, end=5, attributes={**method, "gen_ai.tool.name": name}, **FAILED)
        around = tool(
            "outer", parent="root", tool_name="weather_get_weather", start=3, end=6, arguments=WHERE, **FAILED
        )
        heights.append(run(around, inner).tables["tool_calls"].height)

    assert heights == [1, 2]


def test_another_tool_within_one_is_another() -> None:
    """A name that merely ends alike, other arguments, or an agent between them."""
    kinds = [
        tool("inner", parent="outer", tool_name="weather", start=4, end=5, arguments=WHERE),
        tool("inner", parent="outer", tool_name="get_weather", start=4, end=5, arguments={"city": "Bergen"}),
        tool("inner", parent="helper", tool_name="get_weather", start=4, end=5, arguments=WHERE),
    ]
    helper = agent("helper", agent_name="helper", parent="outer", start=3.5, end=5.5)

    assert [run(outer(), helper, inner).tables["tool_calls"].height for inner in kinds] == [2, 2, 2]


def test_parallel_executions_that_are_alike_are_several() -> None:
    """One layer, one name, at once: both ran."""
    again = outer(call_id=None) | {"span_id": identifier("again", 16)}

    assert run(outer(call_id=None), again).tables["tool_calls"].height == 2


@pytest.mark.parametrize(
    "result",
    [
        '{"content": [{"type": "text", "text": "no quota"}], "isError": true}',
        '{"is_error": true, "content": "no quota"}',
        '{"result": {"isError": true, "content": [{"type": "text", "text": "no quota"}]}}',
        '[{"isError": true, "content": "no quota"}]',
    ],
)
def test_a_result_that_says_it_is_an_error_is_one(result: str) -> None:
    """Its span ended well."""
    plain = outer(status="ok", message=None)
    fields = json.loads(plain["attributes"]) | {"gen_ai.tool.call.result": result}
    plain["attributes"] = json.dumps(fields)

    dataset = run(plain)

    assert dataset.tables["tool_calls"].select("result", "error").rows() == [(None, "no quota")]
    assert dataset.tables["transitions"]["reward_tool_status"].to_list() == [-0.1, None]


@pytest.mark.parametrize(
    "name", ["weather-get_weather", "weather_get_weather", "get_weather_mcp_weather", "get_weather"]
)
def test_a_protocols_span_is_the_frameworks_execution_however_their_names_are_joined(name: str) -> None:
    """Its attributes say that it is one; below the framework's span or beside it, in the same scope."""
    for parent in ("outer", "root"):
        above = tool("outer", parent="root", tool_name=name, start=3, end=6, call_id="c1", arguments=WHERE, **FAILED)
        inner = tool("inner", parent=parent, tool_name="get_weather", start=3.5, end=5.5, arguments=WHERE, **FAILED)
        inner["attributes"] = json.dumps(json.loads(inner["attributes"]) | {"mcp.method.name": "tools/call"})

        assert run(above, inner).tables["tool_calls"].height == 1


@pytest.mark.parametrize(("call_id", "parents"), [("c1", ["root", "root"]), (None, ["root", "other"])])
def test_an_execution_that_came_twice_under_different_ids_is_one(call_id: str | None, parents: list[str]) -> None:
    """Two collectors export one trace, and one of them writes ids of its own: nothing else is different."""
    other = span("other", end=30)
    ran: dict[str, Any] = {"tool_name": "get_weather", "start": 3, "end": 6, "call_id": call_id, "arguments": WHERE}
    twice = [
        {**tool(label, parent=parent, **ran, **FAILED), "name": "get_weather"}
        for label, parent in zip(("once", "again"), parents, strict=True)
    ]

    dataset = run(other, *twice)

    assert dataset.tables["tool_calls"].height == 1
    assert dataset.tables["transitions"]["reward_tool_status"].to_list() == [-0.1, None]
