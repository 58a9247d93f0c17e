"""Joins spans to episodes: one attempt of an agent at one task.

An explicit `spanloop.episode.id` on a span claims its subtree; on a resource, or when it is the only one, its whole
trace. Without one, a conversation or session id that is the only one of its trace joins traces; else the trace is the
episode. A trace that holds nothing but the gateway's spans belongs to the episode of the call they were found to be.
"""

from collections import defaultdict
from dataclasses import dataclass, field

import polars as pl

from etl.calls.find import json_object
from etl.calls.readings import Readings
from etl.calls.tree import NO_PARENT, Forest
from etl.dialects.spans import LlmCall
from otel_exporter.schema import EPISODE_ID, GATEWAY_SCOPE, SPLIT, TASK_ID

ROLLOUT = "agentlightning.rollout_id"
ATTEMPT = "agentlightning.attempt_id"

USERS = ("user.id", "enduser.id", "langfuse.user.id", "traceloop.association.properties.user_id")
"""Attributes that name the user an agent works for."""

Trace = tuple[str, str]
"""(project, trace_id)"""

EpisodeKey = tuple[str, str]
"""(project, episode_id)"""


@dataclass(slots=True)
class Episode:
    """One episode and the rows it is made of."""

    key: EpisodeKey
    rows: list[int] = field(default_factory=list)
    traces: list[str] = field(default_factory=list)
    root: int = 0
    """Row of the root that began first; a gateway's only where there is no other."""

    is_complete: bool = False
    is_waiting: bool = False
    """Not complete, and still young enough that more spans may come."""

    task_id: str | None = None
    split: str | None = None
    user: str | None = None
    start_ns: int = 0
    """When its first span began."""


def group_episodes(
    spans: pl.DataFrame,
    forest: Forest,
    readings: Readings,
    calls: list[LlmCall],
    *,
    idle_before_us: int | None,
) -> tuple[list[Episode], list[int]]:
    """Return the episodes in order of their key, and the episode's number of every row.

    `idle_before_us`: an incomplete episode whose last span was received before this instant (microseconds since 1970)
    is taken as it is; None takes all.
    """
    keys = list(zip(spans["project"].to_list(), spans["trace_id"].to_list(), strict=True))
    defaults = _default_ids(spans, keys, readings)
    explicit = {
        row: span.attributes[EPISODE_ID]
        for row, span in readings.spans.items()
        if isinstance(span.attributes.get(EPISODE_ID), str) and span.attributes[EPISODE_ID]
    }
    own = _assign(forest, keys, defaults, explicit)
    _adopt_gateway_traces(spans, keys, calls, own)
    by_key: dict[EpisodeKey, Episode] = {}
    for row, episode_id in enumerate(own):
        key = (keys[row][0], episode_id)
        episode = by_key.get(key)
        if episode is None:
            episode = by_key[key] = Episode(key)
        episode.rows.append(row)
    episodes = [by_key[key] for key in sorted(by_key)]
    number_of = [0] * len(own)
    is_gateway = (spans["scope_name"] == GATEWAY_SCOPE).fill_null(value=False).to_list()
    starts = spans["start_ns"].to_list()
    received = spans["received_time"].dt.epoch("us").to_list()
    for number, episode in enumerate(episodes):
        _describe(episode, keys, forest, is_gateway, received, idle_before_us)
        episode.start_ns = min(starts[row] for row in episode.rows)
        _read_hints(episode, readings)
        for row in episode.rows:
            number_of[row] = number
    return episodes, number_of


def _default_ids(spans: pl.DataFrame, keys: list[Trace], readings: Readings) -> dict[Trace, str]:
    """Return the id that a whole trace's spans have unless a span says otherwise."""
    resources = {text: _resource_id(text) for text in spans["resource"].unique().to_list()}
    named: dict[Trace, set[str]] = defaultdict(set)
    if any(resources.values()):
        for key, text in zip(keys, spans["resource"].to_list(), strict=True):
            if resources[text] is not None:
                named[key].add(str(resources[text]))
    conversations: dict[Trace, set[str]] = defaultdict(set)
    for call in readings.calls:
        if call.conversation_id:
            conversations[keys[call.span.index]].add(call.conversation_id)
    for agent in readings.agents.values():
        if agent.conversation_id:
            conversations[keys[agent.span.index]].add(agent.conversation_id)
    for row, span in readings.spans.items():
        value = span.attributes.get(EPISODE_ID)
        if isinstance(value, str) and value:
            named[keys[row]].add(value)
    found: dict[Trace, str] = {}
    for source in (conversations, named):
        found.update({key: next(iter(values)) for key, values in source.items() if len(values) == 1})
    return found


def _resource_id(text: str | None) -> str | None:
    if not text or (EPISODE_ID not in text and ROLLOUT not in text):
        return None
    resource = json_object(text)
    if isinstance(resource.get(EPISODE_ID), str):
        return str(resource[EPISODE_ID])
    rollout = resource.get(ROLLOUT)
    return None if rollout is None else "/".join(str(part) for part in (rollout, resource.get(ATTEMPT)) if part)


def _assign(forest: Forest, keys: list[Trace], defaults: dict[Trace, str], explicit: dict[int, str]) -> list[str]:
    if not explicit:
        return [defaults.get(key, key[1]) for key in keys]
    own = [""] * len(keys)
    for row in sorted(range(len(keys)), key=forest.enter.__getitem__):  # parents before their children
        above = forest.parent[row]
        inherited = own[above] if above != NO_PARENT else defaults.get(keys[row], keys[row][1])
        own[row] = explicit.get(row, inherited)
    return own


def _adopt_gateway_traces(spans: pl.DataFrame, keys: list[Trace], calls: list[LlmCall], own: list[str]) -> None:
    adopted: dict[Trace, str] = {}
    for call in calls:
        home = call.span.trace_id
        for span in call.merged:
            if span.trace_id != home and span.scope == GATEWAY_SCOPE:
                adopted[span.project, span.trace_id] = own[call.span.index]
    if not adopted:
        return
    foreign = spans.filter(pl.col("scope_name").ne_missing(GATEWAY_SCOPE)).select("project", "trace_id").unique()
    mixed = set(foreign.iter_rows())
    for row, key in enumerate(keys):
        if key in adopted and key not in mixed:
            own[row] = adopted[key]


def _describe(
    episode: Episode,
    keys: list[Trace],
    forest: Forest,
    is_gateway: list[bool],
    received: list[int],
    idle_before_us: int | None,
) -> None:
    rows = episode.rows
    episode.traces = sorted({keys[row][1] for row in rows})
    agent_side = [row for row in rows if not is_gateway[row]]
    tops = [row for row in agent_side or rows if forest.parent[row] == NO_PARENT] or rows
    ended = [row for row in tops if not forest.is_orphan[row]]
    episode.root = min(ended or tops)
    is_open = any(forest.is_orphan[row] for row in rows)
    episode.is_complete = bool(ended) and bool(agent_side) and not is_open
    is_idle = idle_before_us is None or max(received[row] for row in rows) <= idle_before_us
    episode.is_waiting = not episode.is_complete and not is_idle


def _read_hints(episode: Episode, readings: Readings) -> None:
    """Take task id, split and user from the span nearest the root that has them."""
    for row in sorted(row for row in episode.rows if row in readings.spans):
        attributes = readings.spans[row].attributes
        if episode.task_id is None and isinstance(attributes.get(TASK_ID), str):
            episode.task_id = attributes[TASK_ID] or None
        if episode.split is None and isinstance(attributes.get(SPLIT), str):
            episode.split = attributes[SPLIT] or None
        for name in USERS if episode.user is None else ():
            if isinstance(attributes.get(name), str) and attributes[name]:
                episode.user = attributes[name]
