"""Whose call it is: its own word for it, else the nearest span above that names an agent."""

from typing import Any

from etl.calls.agents import Surroundings
from etl.calls.tree import NO_PARENT, build_forest
from etl.settings import EtlConfig
from etl.transform import transform
from tests.spans import Span, agent, llm, logs_frame, span, spans_frame


def agents(*spans: Span) -> dict[str, Any]:
    rows = transform(spans_frame(spans), logs_frame(), EtlConfig(complete_after=0)).tables["llm_calls"]
    return dict(zip(rows["response_id"].to_list(), rows["agent"].to_list(), strict=True))


def test_the_nearest_agent_above_has_the_call() -> None:
    """Through spans of others; a call's own word comes before any."""
    found = agents(
        agent("outer", agent_name="planner", end=20),
        agent("inner", agent_name="critic", parent="outer", end=19),
        span("http", parent="inner", end=18),
        llm("a", parent="http", start=1, response_id="a"),
        llm("b", parent="outer", start=2, response_id="b", asked=[("user", "b")]),
        llm("c", parent="http", start=3, response_id="c", agent="own", asked=[("user", "c")]),
        llm("d", trace="u", start=3, response_id="d", asked=[("user", "d")]),
    )

    assert found == {"a": "critic", "b": "planner", "c": "own", "d": None}


def test_walks_are_remembered_and_right_whoever_asked_first() -> None:
    """A chain of a thousand spans, asked from either end."""
    rows = [span("0")] + [span(str(number), parent=str(number - 1)) for number in range(1, 1000)]
    forest = build_forest(spans_frame(rows))
    marked = {0, 500}
    for order in (range(1000), reversed(range(1000))):
        surroundings = Surroundings(forest, marked)
        found = {row: surroundings.nearest(row) for row in order}
        assert found[0] == NO_PARENT
        assert {found[row] for row in range(1, 501)} == {0}
        assert {found[row] for row in range(501, 1000)} == {500}
