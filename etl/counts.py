"""Counts every span of a transformation once, so that its report reconciles."""

from collections import Counter
from typing import Any

import polars as pl

from etl.calls.readings import Readings
from etl.dialects.spans import LlmCall
from etl.episodes.grouping import Episode
from etl.tables import IS_TAKEN, Row


def count(
    spans_in: int,
    rejected: list[Row],
    readings: Readings,
    calls: list[LlmCall],
    wrappers: list[LlmCall],
    episodes: list[Episode],
    episode_of: list[int],
    keep: list[bool],
    tables: dict[str, pl.DataFrame],
) -> dict[str, Any]:
    """Count every span once: used, ignored, waiting or rejected, by what it was or why."""
    used: Counter[str] = Counter()
    ignored: Counter[str] = Counter()
    kinds: dict[int, str] = {}
    for call in calls:
        kinds[call.span.index] = "llm_call"
        for span in call.merged:
            kinds[span.index] = "same_call_again"
    kinds |= {embedding.call.span.index: "embedding" for embedding in readings.embeddings}
    kinds |= {wrapper.span.index: "call_wrapper" for wrapper in wrappers}
    kinds |= {tool.span.index: "tool_call" for tool in readings.tools}
    kinds |= dict.fromkeys(readings.agents, "agent")
    kinds |= dict.fromkeys(readings.evaluations, "evaluation")
    waiting = 0
    for row, number in enumerate(episode_of):
        if not keep[number]:
            waiting += 1
        elif row in kinds:
            used[kinds[row]] += 1
        else:
            ignored["unreadable" if row in readings.unreadable else "ordinary"] += 1
    clean: Counter[str] = Counter(str(row["reason"]) for row in rejected if row["stage"] == "clean")
    calls_rejected: Counter[str] = Counter(str(row["reason"]) for row in rejected if row["stage"] == "transitions")
    reasons = tables["rewards"].group_by("reason").len().sort("reason").iter_rows()
    taken = tables["transitions"].filter(IS_TAKEN)
    evidence = taken.group_by("evidence").len().sort("evidence").iter_rows()
    assert spans_in == used.total() + ignored.total() + waiting + clean.total()
    return {
        "spans": {
            "in": spans_in,
            "used": dict(sorted(used.items())),
            "ignored": dict(sorted(ignored.items())),
            "waiting": waiting,
            "rejected": dict(sorted(clean.items())),
        },
        "calls": {
            "in": tables["llm_calls"].height,
            "transitions": taken.height,
            "other_choices": tables["transitions"].height - taken.height,
            "rejected": dict(sorted(calls_rejected.items())),
        },
        "rewards": dict(reasons),
        "evidence": dict(evidence),
        "episodes": sum(keep),
        "episodes_waiting": len(episodes) - sum(keep),
        "unread_scopes": dict(sorted(readings.unread.items())),
        "unreadable_scopes": dict(sorted(Counter(readings.unreadable.values()).items())),
    }
