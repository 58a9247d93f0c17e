"""Signals read off the trace: what fires them, which call they fall on, and that they never reorder outcomes."""

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from etl.exports.stats import correlations, coverage
from etl.rewards.combine import combine
from etl.settings import EtlConfig
from etl.transform import transform
from tests.spans import evaluation, llm, logs_frame, span, spans_frame, tool


@given(st.lists(st.tuples(st.floats(-5, 5), st.booleans()), min_size=2, max_size=8))
def test_signals_never_reorder_outcomes(draws: list[tuple[float, bool]]) -> None:
    """Whatever is measured, a success keeps a higher total than a failure."""
    totals: dict[float, list[float]] = {0.0: [], 1.0: []}
    for value, succeeded in draws:
        outcome = float(succeeded)
        combined = combine(outcome, [None, None], [value, -value / 2], outcome_gap=1.0, discount=1.0)
        totals[outcome].append(sum(reward or 0.0 for reward in combined.reward))

    assert not totals[0.0] or not totals[1.0] or max(totals[0.0]) < min(totals[1.0])


def test_the_report_correlates_signals_with_outcomes() -> None:
    """Failing tools go with failing episodes here, perfectly."""
    frames = []
    for number in range(4):
        failed = number % 2 == 0
        name = f"e{number}"
        spans = [
            span(f"{name} root", trace=name, end=9, events=[evaluation(0.0 if failed else 1.0)]),
            llm(f"{name} a", trace=name, parent=f"{name} root", calls=[(name, "search", {})]),
            tool(
                f"{name} t",
                trace=name,
                parent=f"{name} root",
                tool_name="search",
                call_id=name,
                start=2,
                status="error" if failed else "ok",
            ),
        ]
        frames.append(transform(spans_frame(spans), logs_frame(), EtlConfig(complete_after=0)).tables)
    rows = pl.concat([tables["transitions"] for tables in frames])

    found = {row["signal"]: row for row in correlations(rows)}

    assert found["tool_status"] == {
        "signal": "tool_status",
        "calls": 4,
        "fired": 2,
        "episodes": 4,
        "correlation": 1.0,
    }
    assert found["progress"]["calls"] == 0
    calls = pl.concat([tables["llm_calls"] for tables in frames])
    (producer,) = coverage(calls)
    assert (producer["calls"], producer["input"], producer["usage"]) == (4, 1.0, 0.0)
