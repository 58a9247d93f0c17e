"""What a failed tool costs, and whom."""

from etl.settings import EtlConfig
from etl.tables import Dataset
from etl.transform import transform
from tests.spans import Span, identifier, llm, logs_frame, span, spans_frame, tool


def run(*spans: Span) -> Dataset:
    """Run the ETL over spans, taking every trace as complete."""
    return transform(spans_frame(spans), logs_frame(), EtlConfig(complete_after=0))


def test_a_failed_tool_costs_the_call_that_asked_for_it() -> None:
    """By tool call id, though another call ended later."""
    dataset = run(
        span("root", end=9),
        llm("asks", parent="root", start=1, end=2, calls=[("call_1", "search", {"q": "x"})]),
        llm("other", parent="root", start=2.5, end=3),
        tool(
            "fails", parent="root", start=4, end=5, tool_name="search", call_id="call_1", status="error", message="no"
        ),
    )

    assert dataset.tables["transitions"]["reward_tool_status"].to_list() == [-0.1, None]
    (row,) = dataset.tables["tool_calls"].to_dicts()
    assert (row["caused_by_span_id"], row["attribution_rule"]) == (identifier("asks", 16), "tool_call_id")


def test_a_tool_that_worked_is_measured_as_zero() -> None:
    """Measured and nothing wrong is 0; nothing to measure is null."""
    dataset = run(
        span("root", end=9),
        llm("asks", parent="root", start=1, end=2, calls=[("call_1", "search", {})]),
        tool("works", parent="root", start=4, end=5, tool_name="search", arguments={"q": 1}),
        llm("done", parent="root", start=6, end=7),
    )

    assert dataset.tables["transitions"]["reward_tool_status"].to_list() == [0.0, None]
    assert dataset.tables["tool_calls"]["attribution_rule"].to_list() == ["same_parent"]
