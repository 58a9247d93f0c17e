"""Rewards somebody gave: evaluation results, as events, records or attributes, and agent-lightning's annotations.

Which counts. A score named as configured (default `outcome`), anywhere in the episode, says how it ended; where there
is none, the only name given to the episode as a whole does. Any other score on a model call is a reward of that call.
Two scores of one name for one thing: the later one is a correction of the earlier; equal ones are duplicates. Every
score is kept with the reason it was used or not.
"""

from collections import defaultdict
from collections.abc import Collection, Container, Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import fsum
from typing import Any

import polars as pl

from etl.calls.find import json_object
from etl.calls.readings import Readings
from etl.dialects import agentlightning
from etl.dialects.spans import LlmCall, Span
from etl.dialects.values import number_of, text_of
from etl.episodes.grouping import Episode
from etl.rewards import attributes
from otel_exporter.schema import (
    EVALUATION_EVENT,
    EVALUATION_EXPLANATION,
    EVALUATION_LABEL,
    EVALUATION_NAME,
    EVALUATION_SCORE,
)

AGENTLIGHTNING = agentlightning.DIALECT
"""Source of rewards on annotation spans, which are linked to what they judge rather than placed on it."""


UNNAMED = "(unnamed)"


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
    NOT_A_TRANSITION = "not_a_transition"


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
        found += [_attribute(score, span) for score in attributes.scores(span)]
        if agentlightning.is_annotation(span) or "agentops.span.kind" in span.attributes:
            found += _annotations(span.index, readings)
    records = logs.filter(pl.col("event_name") == EVALUATION_EVENT)
    for project, trace_id, span_id, time_ns, fields in records.select(
        "project", "trace_id", "span_id", "time_ns", "attributes"
    ).iter_rows():
        found.append(_evaluation(json_object(fields), project, trace_id, span_id, "log_record", time_ns or 0))
    return found


def _evaluation(
    fields: dict[str, Any], project: str, trace_id: str | None, span_id: str | None, source: str, time_ns: int
) -> Reward:
    return Reward(
        project,
        trace_id,
        span_id,
        text_of(fields, EVALUATION_NAME) or UNNAMED,
        number_of(fields, EVALUATION_SCORE),
        text_of(fields, EVALUATION_LABEL),
        text_of(fields, EVALUATION_EXPLANATION),
        source,
        time_ns,
        text_of(fields, "gen_ai.response.id"),
    )


def _attribute(score: attributes.Score, span: Span) -> Reward:
    return Reward(
        span.project,
        span.trace_id,
        score.span_id,
        score.name or UNNAMED,
        score.value,
        score.label,
        score.explanation,
        attributes.SOURCE,
        span.end_ns,
        score.response_id,
        span.index if score.span_id == span.span_id else None,
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
    apart: Container[int],
    episode_of: list[int],
    episodes: list[Episode],
    outcome: str,
    allowed: Mapping[str, Collection[str]],
) -> tuple[list[float | None], dict[int, float]]:
    """Decide which rewards count, in place; return the outcome of every episode and the step rewards by call row.

    `apart` are the rows of calls that are no transitions, so that nothing can be a reward of theirs.
    """
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
    given: dict[int, list[float]] = defaultdict(list)
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
            elif reward.call is None:
                reward.reason = Reason.NOT_THE_OUTCOME
            elif reward.call.span.index in apart:
                reward.reason = Reason.NOT_A_TRANSITION
            else:
                reward.reason = Reason.STEP
                assert reward.value is not None
                given[reward.call.span.index].append(reward.value)
    return outcomes, {row: fsum(values) for row, values in given.items()}  # the same sum in any order


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
    by_response: dict[tuple[str, str], list[LlmCall]] = defaultdict(list)
    for call in calls:
        if call.response_id:
            by_response[call.span.project, call.response_id].append(call)
    by_trace: dict[tuple[str, str], int] = {}
    for number, episode in enumerate(episodes):
        for trace_id in episode.traces:
            by_trace.setdefault((episode.key[0], trace_id), number)
    for reward in rewards:
        answered = by_response.get((reward.project, reward.response_id), []) if reward.response_id else []
        judged = _of_its_trace(answered, reward)
        if reward.row is None and reward.trace_id and reward.span_id:
            reward.row = rows.get((reward.project, reward.trace_id, reward.span_id))
        if judged is None and reward.row is not None:
            judged = by_row.get(reward.row)
        if judged is not None:
            reward.call, reward.row = judged, judged.span.index
        if reward.row is not None:
            reward.episode = episode_of[reward.row]
        elif reward.trace_id and not reward.span_id:
            reward.episode = by_trace.get((reward.project, reward.trace_id))
        if reward.value is None:
            reward.reason = Reason.NO_SCORE
        elif reward.value - reward.value != 0:
            reward.reason = Reason.NOT_FINITE
            reward.value = None
        elif reward.episode is None or (reward.source == AGENTLIGHTNING and reward.response_id and judged is None):
            reward.reason = Reason.NO_SPAN


def _of_its_trace(answered: list[LlmCall], reward: Reward) -> LlmCall | None:
    """Return the call with the reward's response id: the one in its trace, else the only one there is."""
    own = [call for call in answered if call.span.trace_id == reward.trace_id]
    candidates = own or answered
    return candidates[0] if len(candidates) == 1 else None


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
