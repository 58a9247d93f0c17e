"""Which model call caused a tool call, and the rule that says so is in the row."""

import json

import pytest

from etl.settings import EtlConfig
from etl.transform import transform
from tests.spans import Span, agent, identifier, llm, logs_frame, span, spans_frame, tool

ROOT = span("root", end=30)
ASKS = [("call_1", "search", {"q": 1})]
RESULT = [
    {"role": "user", "parts": [{"type": "text", "content": "hi"}]},
    {"role": "assistant", "parts": [{"type": "tool_call", "id": "call_1", "name": "search", "arguments": {"q": 1}}]},
    {"role": "tool", "parts": [{"type": "tool_call_response", "id": "call_1", "response": "found"}]},
]

CASES: dict[str, tuple[list[Span], str | None]] = {
    "tool_call_id": (
        [
            llm("a", parent="root", start=1, calls=ASKS),
            llm("b", parent="root", start=3),
            tool("t", parent="root", tool_name="search", call_id="call_1", start=5),
        ],
        "a",
    ),
    "name_and_arguments": (
        [
            llm("a", parent="root", start=1, calls=ASKS),
            llm("b", parent="root", start=3),
            tool("t", parent="root", tool_name="search", arguments={"q": 1}, start=5),
        ],
        "a",
    ),
    "parent_call": (
        [
            llm("a", parent="root", start=1, end=9),
            llm("b", parent="root", start=2),
            tool("t", parent="a", tool_name="search", start=5),
        ],
        "a",
    ),
    "same_parent": (
        [
            span("step", parent="root", end=20),
            llm("a", parent="step", start=1),
            llm("b", parent="root", start=3),
            tool("t", parent="step", tool_name="search", start=5),
        ],
        "a",
    ),
    "same_agent": (
        [
            agent("x", agent_name="x", parent="root", end=20),
            span("one", parent="x", end=9),
            span("two", parent="x", start=4, end=9),
            llm("a", parent="one", start=1),
            llm("b", parent="root", start=3),
            tool("t", parent="two", tool_name="search", start=5),
        ],
        "a",
    ),
    "same_episode": (
        [
            span("one", parent="root", end=9),
            span("two", parent="root", start=4, end=9),
            llm("a", parent="one", start=1),
            llm("later", parent="one", start=7),
            tool("t", parent="two", tool_name="search", start=5),
        ],
        "a",
    ),
    "tool_message": (
        [
            llm("a", parent="root", start=1, calls=ASKS),
            llm("b", parent="root", start=3, attributes={"gen_ai.input.messages": json.dumps(RESULT)}),
        ],
        "a",
    ),
    "nothing before it": ([tool("t", parent="root", tool_name="search"), llm("b", parent="root", start=3)], None),
}


@pytest.mark.parametrize("rule", CASES)
def test_the_rule_that_found_the_cause_is_recorded(rule: str) -> None:
    """Each where the ones before it find nothing."""
    spans, cause = CASES[rule]

    (row,) = (
        transform(spans_frame([ROOT, *spans]), logs_frame(), EtlConfig(complete_after=0))
        .tables["tool_calls"]
        .to_dicts()
    )

    assert row["caused_by_span_id"] == (None if cause is None else identifier(cause, 16))
    assert row["attribution_rule"] == (None if cause is None else rule)


def test_an_id_that_is_used_again_is_the_call_s_that_asked_last() -> None:
    """The executions have no arguments of their own, and get those of their own call, not of the first one's."""
    again = [("call_1", "search", {"q": 2})]
    rows = [
        llm("a", parent="root", start=1, end=2, calls=ASKS),
        tool("ran", parent="root", tool_name="search", call_id="call_1", start=3, end=4),
        llm("b", parent="root", start=5, end=6, calls=again, attributes={"gen_ai.input.messages": json.dumps(RESULT)}),
        tool("ran again", parent="root", tool_name="search", call_id="call_1", start=7, end=8),
    ]

    dataset = transform(spans_frame([ROOT, *rows]), logs_frame(), EtlConfig(complete_after=0))

    executions = dataset.tables["tool_calls"].sort("start_ns")
    assert executions["caused_by_span_id"].to_list() == [identifier("a", 16), identifier("b", 16)]
    assert [json.loads(text) for text in executions["arguments"]] == [{"q": 1}, {"q": 2}]
