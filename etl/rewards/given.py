"""Rewards somebody gave: evaluation results on spans and in log records, and agent-lightning's annotations.

Which counts. A score named as configured (default `outcome`), anywhere in the episode, says how it ended; where there
is none, the only name given to the episode as a whole does. Any other score on a model call is a reward of that call.
Two scores of one name for one thing: the later one is a correction of the earlier; equal ones are duplicates. Every
score is kept with the reason it was used or not.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import polars as pl

from etl.calls import Readings, json_object
from etl.dialects import agentlightning
from etl.dialects.spans import LlmCall
from etl.dialects.values import number_of, text_of
from etl.episodes import Episode
from otel_exporter.schema import (
    EVALUATION_EVENT,
    EVALUATION_EXPLANATION,
    EVALUATION_LABEL,
    EVALUATION_NAME,
    EVALUATION_SCORE,
)

AGENTLIGHTNING = "agentlightning"
"""Source of rewards on annotation spans, which are linked to what they judge rather than placed on it."""


class Reason(StrEnum):
    """Why a reward was used or not."""

    OUTCOME = "outcome"
    STEP = "step"
    NO_SCORE = "no_score"
    NO_SPAN = "no_such_span"
    NOT_FINITE = "not_finite"
    DUPLICATE = "duplicate"
    SUPERSEDED = "superseded"
    NOT_THE_OUTCOME = "not_the_outcome"
    NOT_ALLOWED = "source_not_allowed"


@dataclass(slots=True)
class Reward:
    """One reward as somebody gave it."""

    project: str
    trace_id: str | None
    span_id: str | None
    name: str
    value: float | None
    label: str | None
    explanation: str | None
    source: str
    time_ns: int
    response_id: str | None = None
    row: int | None = None
    """Row of the span it judges."""

    episode: int | None = None
    call: LlmCall | None = None
    """The model call it judges; None for the episode as a whole."""

    reason: Reason | None = None


def collect(readings: Readings, logs: pl.DataFrame) -> list[Reward]:
    """Collect every reward of a run."""
    found: list[Reward] = []
    for span in readings.spans.values():
        for event in span.events:
            if isinstance(event, dict) and event.get("name") == EVALUATION_EVENT:
                fields = event.get("attributes") or {}
                time_ns = int(event.get("time_ns") or span.end_ns)
                reward = _evaluation(fields, span.project, span.trace_id, span.span_id, "span_event", time_ns)
                reward.row = span.index
                found.append(reward)
        if agentlightning.is_annotation(span) or "agentops.span.kind" in span.attributes:
            found += _annotations(span.index, readings)
    records = logs.filter(pl.col("event_name") == EVALUATION_EVENT)
    for project, trace_id, span_id, time_ns, attributes in records.select(
        "project", "trace_id", "span_id", "time_ns", "attributes"
    ).iter_rows():
        found.append(_evaluation(json_object(attributes), project, trace_id, span_id, "log_record", time_ns or 0))
    return found


def _evaluation(
    fields: dict[str, Any], project: str, trace_id: str | None, span_id: str | None, source: str, time_ns: int
) -> Reward:
    return Reward(
        project,
        trace_id,
        span_id,
        text_of(fields, EVALUATION_NAME) or "(unnamed)",
        number_of(fields, EVALUATION_SCORE),
        text_of(fields, EVALUATION_LABEL),
        text_of(fields, EVALUATION_EXPLANATION),
        source,
        time_ns,
        text_of(fields, "gen_ai.response.id"),
    )


def _annotations(row: int, readings: Readings) -> list[Reward]:
    span = readings.spans[row]
    linked = agentlightning.links(span).get("gen_ai.response.id")
    return [
        Reward(
            span.project,
            span.trace_id,
            span.span_id,
            name,
            value,
            None,
            None,
            AGENTLIGHTNING,
            span.end_ns,
            linked,
            row,
        )
        for name, value in agentlightning.rewards(span)
    ]


def settle(
    rewards: list[Reward],
    rows: dict[tuple[str, str, str], int],
    calls: list[LlmCall],
    episode_of: list[int],
    episodes: list[Episode],
    outcome: str,
    allowed: Mapping[str, Collection[str]],
) -> tuple[list[float | None], dict[int, float]]:
    """Decide which rewards count, in place; return the outcome of every episode and the step rewards by call row."""
    _locate(rewards, rows, calls, episode_of, episodes)
    for reward in rewards:
        if reward.source not in allowed.get(reward.project, (reward.source,)):
            reward.reason = Reason.NOT_ALLOWED
    _drop_repeats(rewards)
    by_episode: dict[int, list[Reward]] = defaultdict(list)
    for reward in rewards:
        if reward.episode is not None and reward.reason is None:
            by_episode[reward.episode].append(reward)
    outcomes: list[float | None] = [None] * len(episodes)
    steps: dict[int, float] = {}
    for number, own in by_episode.items():
        name = _outcome_name(own, outcome)
        naming = [reward for reward in own if reward.name == name]
        last = max(naming, key=lambda reward: (reward.time_ns, reward.value), default=None)
        for reward in own:
            if reward is last:
                reward.reason = Reason.OUTCOME
                outcomes[number] = reward.value
            elif reward.name == name:
                reward.reason = Reason.SUPERSEDED
            elif reward.call is not None:
                reward.reason = Reason.STEP
                assert reward.value is not None
                row = reward.call.span.index
                steps[row] = steps.get(row, 0.0) + reward.value
            else:
                reward.reason = Reason.NOT_THE_OUTCOME
    return outcomes, steps


def _outcome_name(rewards: list[Reward], configured: str) -> str | None:
    if any(reward.name == configured for reward in rewards):
        return configured
    names = {reward.name for reward in rewards if reward.call is None}
    return next(iter(names)) if len(names) == 1 else None


def _locate(
    rewards: list[Reward],
    rows: dict[tuple[str, str, str], int],
    calls: list[LlmCall],
    episode_of: list[int],
    episodes: list[Episode],
) -> None:
    by_row = {span.index: call for call in calls for span in (call.span, *call.merged)}
    by_response = {(call.span.project, call.response_id): call for call in calls if call.response_id}
    by_trace: dict[tuple[str, str], int] = {}
    for number, episode in enumerate(episodes):
        for trace_id in episode.traces:
            by_trace.setdefault((episode.key[0], trace_id), number)
    for reward in rewards:
        call = by_response.get((reward.project, reward.response_id)) if reward.response_id else None
        if reward.row is None and reward.trace_id and reward.span_id:
            reward.row = rows.get((reward.project, reward.trace_id, reward.span_id))
        if call is None and reward.row is not None:
            call = by_row.get(reward.row)
        if call is not None:
            reward.call, reward.row = call, call.span.index
        if reward.row is not None:
            reward.episode = episode_of[reward.row]
        elif reward.trace_id and not reward.span_id:
            reward.episode = by_trace.get((reward.project, reward.trace_id))
        if reward.value is None:
            reward.reason = Reason.NO_SCORE
        elif reward.value - reward.value != 0:
            reward.reason = Reason.NOT_FINITE
            reward.value = None
        elif reward.episode is None or (reward.source == AGENTLIGHTNING and reward.response_id and call is None):
            reward.reason = Reason.NO_SPAN


def _drop_repeats(rewards: list[Reward]) -> None:
    """Of scores with one name for one thing, keep the latest; at one instant the larger, so order never matters."""
    by_target: dict[tuple[Any, ...], list[Reward]] = defaultdict(list)
    for reward in rewards:
        if reward.reason is None:
            target = reward.call.span.index if reward.call is not None else None
            by_target[reward.episode, target, reward.name].append(reward)
    for same in by_target.values():
        same.sort(key=lambda reward: (reward.time_ns, reward.value, reward.source, reward.span_id or ""))
        kept = same[-1]
        for reward in same[:-1]:
            reward.reason = Reason.DUPLICATE if reward.value == kept.value else Reason.SUPERSEDED
