"""AIR: the call that took longer, or wrote more, than it should."""

from collections.abc import Iterable

from etl.dialects.spans import LlmCall


def over_budget(spent: float, budget: float) -> float:
    """Return 0 within the budget, falling to -1 at twice the budget and beyond.

    >>> over_budget(5.0, 10.0), over_budget(15.0, 10.0), over_budget(50.0, 10.0)
    (0.0, -0.5, -1.0)
    """
    return -min(1.0, max(0.0, spent / budget - 1.0)) + 0.0


def latency(calls: Iterable[LlmCall], budget_s: float | None) -> dict[int, float]:
    """Return by call row how far its duration is over the budget; nothing without a budget."""
    if budget_s is None:
        return {}
    return {c.span.index: over_budget((c.span.end_ns - c.span.start_ns) / 1e9, budget_s) for c in calls}


def tokens(calls: Iterable[LlmCall], budget: int | None) -> dict[int, float]:
    """Return by call row how far its answer's tokens are over the budget; a call of unknown length has no entry."""
    if budget is None:
        return {}
    counts = {call.span.index: (call.usage or {}).get("output_tokens") for call in calls}
    return {row: over_budget(count, budget) for row, count in counts.items() if count is not None}
