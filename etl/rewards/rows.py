"""Rewards as rows of the published table, and back: what was given outlives the spans and records it came with."""

from typing import Any

import orjson

from etl.dialects.spans import LlmCall
from etl.episodes.grouping import Episode
from etl.rewards.given import Level, Reason, Reward
from etl.rewards.stand_ins import is_stand_in
from etl.tables import Row, json_text

IDENTITY = ("project", "trace_id", "span_id", "name", "value", "label", "explanation", "source", "time_ns")
"""Columns that are as the giver wrote them; what was made of the reward is in the others."""

UNPLACED = {Reason.SIGNAL, Reason.NOBODY_ACTED, Reason.NO_SCORE, Reason.NOT_FINITE}
"""Reasons that no later reward or span changes, once the spans are gone."""


def to_row(reward: Reward, episode: Episode | None) -> Row:
    """Return the row of a settled reward."""
    assert reward.reason is not None
    return {
        "project": reward.project,
        "trace_id": reward.trace_id,
        "span_id": reward.span_id,
        "episode_id": None if episode is None else episode.key[1],
        "judges": None if reward.level is None else reward.level.value,
        "judged_trace_id": _judged_trace(reward, episode),
        "judged_span_id": _judged_span(reward),
        "names": json_text(reward.names()),
        "name": reward.name,
        "value": None if reward.reason == Reason.NOT_FINITE else reward.value,
        "label": reward.label,
        "explanation": reward.explanation,
        "source": reward.source,
        "time_ns": reward.time_ns,
        "used": reward.reason in {Reason.OUTCOME, Reason.STEP},
        "reason": reward.reason.value,
    }


def _judged_trace(reward: Reward, episode: Episode | None) -> str | None:
    """Return the trace that a reward judges, or would, where that is another than the one it stands in."""
    if episode is None:
        return reward.links[0][0] if reward.links else None
    return None if reward.trace_id in episode.traces else episode.traces[0]


def _judged_span(reward: Reward) -> str | None:
    if reward.episode is None:
        return reward.links[0][1] if reward.links else None
    return None if reward.call is None else reward.call.span.span_id


def from_row(row: Row) -> Reward:
    """Return a reward as it was given, with its reason where nothing changes that any more."""
    names: dict[str, Any] = orjson.loads(row["names"]) if row["names"] else {}
    linked = (str(names["trace"]), row["judged_span_id"] or "") if "trace" in names else None
    reason = Reason(row["reason"])
    return Reward(
        project=row["project"],
        trace_id=row["trace_id"],
        span_id=row["span_id"],
        name=row["name"],
        value=row["value"],
        label=row["label"],
        explanation=row["explanation"],
        source=row["source"],
        time_ns=row["time_ns"],
        response_id=names.get("response"),
        episode_id=names.get("episode"),
        session_id=names.get("session"),
        links=[linked] if linked else [],
        reason=reason if reason in UNPLACED else None,
    )


def place_again(reward: Reward, row: Row, number: int, calls: dict[str, LlmCall]) -> None:
    """Put a reward where its row says that it was, in the episode of that number with these calls by span id."""
    reward.episode, reward.level = number, Level(row["judges"])
    judged = calls.get(row["judged_span_id"] or "")
    reward.calls = [judged] if judged is not None else []


def is_from_elsewhere(row: Row) -> bool:
    """Tell whether a reward stands in no trace of what it judges, or in none at all."""
    return row["judged_trace_id"] is not None or is_stand_in((row["project"], row["trace_id"] or ""))
