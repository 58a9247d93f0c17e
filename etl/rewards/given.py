"""Rewards somebody gave, as they are written: evaluation results, as events, records or attributes, and annotations.

What each of them judges is found in `etl.rewards.placing`, and which of them count in `etl.rewards.settling`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import polars as pl

from etl.calls.find import json_array, json_object
from etl.calls.readings import Readings
from etl.dialects.platforms import agentlightning
from etl.dialects.shapes.values import score_of, text_of
from etl.dialects.spans import LlmCall, Span
from etl.rewards import attributes
from otel_exporter.schema import (
    EPISODE_ID,
    EVALUATION_EVENT,
    EVALUATION_EXPLANATION,
    EVALUATION_LABEL,
    EVALUATION_NAME,
)

AGENTLIGHTNING = agentlightning.DIALECT
"""Source of rewards on annotation spans, which are linked to what they judge rather than placed on it."""

RESPONSE_ID = "gen_ai.response.id"
SESSION_IDS = ("gen_ai.conversation.id", "session.id")

UNNAMED = "(unnamed)"

Place = tuple[str, str]
"""(trace_id, span_id) of a span."""


class Reason(StrEnum):
    """Why a reward was used or not."""

    OUTCOME = "outcome"
    """Used: how the episode, or every episode of the session it was given to, ended."""

    STEP = "step"
    """Used: of the call it was given to, or of the last call of the agent's run."""

    NO_SCORE = "no_score"
    NOT_FINITE = "not_finite"
    NO_SPAN = "no_such_span"
    """Nothing of what it names is there (yet), or more than one."""

    NOBODY_ACTED = "nobody_acted"
    """Where it was given no agent's model was called."""

    SIGNAL = "signal"
    """It judges a retriever, a tool or another part in which no agent acts: a measure, no outcome."""

    DUPLICATE = "duplicate"
    SUPERSEDED = "superseded"
    NOT_THE_OUTCOME = "not_the_outcome"
    NOT_ALLOWED = "source_not_allowed"
    NOT_A_TRANSITION = "not_a_transition"


class Level(StrEnum):
    """What a reward was given to."""

    CALL = "call"
    RUN = "run"
    """Some of an episode's calls: what an agent, or whatever span it was given to, did."""

    EPISODE = "episode"
    SESSION = "session"


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
    episode_id: str | None = None
    session_id: str | None = None
    links: list[Place] = field(default_factory=list)
    """Spans that the span it stands on is linked to."""

    is_whole: bool = False
    """It is for the session it names, or for the attempt it stands in, as a whole."""

    row: int | None = None
    """Row of the span it stands on."""

    judged: int | None = None
    """Row of the span it judges."""

    episode: int | None = None
    level: Level | None = None
    calls: list[LlmCall] = field(default_factory=list)
    """The agents' model calls it judges, of a part of an episode, in the order they began."""

    reason: Reason | None = None

    def names(self) -> dict[str, str] | None:
        """Return what it names beside the trace and the span it stands in, by kind; None where that is nothing."""
        linked = self.links[0][0] if self.links else None
        ids = {"response": self.response_id, "episode": self.episode_id, "session": self.session_id, "trace": linked}
        return {kind: name for kind, name in ids.items() if name} or None

    @property
    def call(self) -> LlmCall | None:
        """Return the call that a reward of a part of an episode is counted with: the last one."""
        return self.calls[-1] if self.calls else None


def collect(readings: Readings, logs: pl.DataFrame, links: Mapping[int, str]) -> list[Reward]:
    """Collect every reward of a run; `links` are the spans' links, as JSON, by row.

    A record that an evaluator wrote within its own span judges what that span is linked to.
    """
    found: list[Reward] = []
    judged = {
        (span.project, span.trace_id, span.span_id): _places(links[row])
        for row in readings.evaluations.keys() & links.keys()
        if (span := readings.spans.get(row)) is not None
    }
    for span in readings.spans.values():
        own = _on_span(span, readings)
        for reward in own if span.index in links else ():
            reward.links, reward.span_id = _places(links[span.index]), span.span_id
        found += own
    records = logs.filter(pl.col("event_name") == EVALUATION_EVENT)
    for project, trace_id, span_id, time_ns, body, fields in records.select(
        "project", "trace_id", "span_id", "time_ns", "body", "attributes"
    ).iter_rows():
        said = {**json_object(body), **json_object(fields)}
        reward = _evaluation(said, project, trace_id, span_id, "log_record", time_ns or 0)
        reward.links = judged.get((project, trace_id, span_id), [])
        found.append(reward)
    return found


def _on_span(span: Span, readings: Readings) -> list[Reward]:
    found: list[Reward] = []
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
    return found


def _places(text: str) -> list[Place]:
    links = [link for link in json_array(text) if isinstance(link, dict)]
    return [(str(link.get("trace_id")), str(link.get("span_id"))) for link in links]


def _evaluation(
    fields: dict[str, Any], project: str, trace_id: str | None, span_id: str | None, source: str, time_ns: int
) -> Reward:
    return Reward(
        project,
        trace_id,
        span_id,
        text_of(fields, EVALUATION_NAME) or UNNAMED,
        score_of(fields, *attributes.EVALUATION_SCORES),
        text_of(fields, EVALUATION_LABEL),
        text_of(fields, EVALUATION_EXPLANATION),
        source,
        time_ns,
        text_of(fields, RESPONSE_ID),
        text_of(fields, EPISODE_ID),
        text_of(fields, *SESSION_IDS),
    )


def _attribute(score: attributes.Score, span: Span) -> Reward:
    return Reward(
        span.project,
        span.trace_id,
        span.parent_span_id if score.is_own_span else None if score.whole else span.span_id,
        score.name or UNNAMED,
        score.value,
        score.label,
        score.explanation,
        attributes.SOURCE,
        span.end_ns,
        score.response_id,
        session_id=text_of(span.attributes, *SESSION_IDS) if score.whole == attributes.SESSION else None,
        is_whole=score.whole is not None,
        row=None if score.whole else span.index,
    )


def _annotations(row: int, readings: Readings) -> list[Reward]:
    span = readings.spans[row]
    linked = agentlightning.links(span).get(RESPONSE_ID)
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
            is_whole=linked is None,
            row=None if linked is None else row,
        )
        for name, value in agentlightning.rewards(span)
    ]
