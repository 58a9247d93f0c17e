"""Joins spans to episodes: one attempt of an agent at one task.

An explicit `spanloop.episode.id` on a span claims its subtree; on a resource, or when it is the only one, its whole
trace. Without one the trace is the episode. A conversation or session (the only one of its trace) joins what its traces
have in common, the user and the history, not what came of them: a trace is one attempt with an earlier one of its
session only where it begins with the results of tools that the earlier one had asked for. A trace that holds nothing
but the gateway's spans belongs to the episode of the call they were found to be.
"""

from collections import defaultdict
from collections.abc import Collection, Container, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import takewhile

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

SESSIONS = (
    "gen_ai.conversation.id",
    "session.id",
    "langfuse.session.id",
    "gcp.vertex.agent.session_id",
    *(
        prefix + name
        for prefix in ("traceloop.association.properties.", "langsmith.metadata.")
        for name in ("session_id", "thread_id", "conversation_id")
    ),
    *(
        "ai.telemetry.metadata." + name
        for name in ("sessionId", "session_id", "conversationId", "threadId", "chatId", "session.id")
    ),
)
"""Attributes that name the conversation or session: every one that a dialect reads as such, on whichever span."""

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
    session: str | None = None
    """The conversation or session that all of its traces with one are in."""

    is_named: bool = False
    """Its spans say that they are one attempt."""

    start_ns: int = 0
    """When its first span began."""


class Grouping:
    """Says which episode every span of a run is of."""

    def __init__(
        self,
        spans: pl.DataFrame,
        forest: Forest,
        readings: Readings,
        calls: list[LlmCall],
        *,
        idle_before_us: int | None,
        taken: Collection[Trace] = (),
    ) -> None:
        """Group whole traces; those `taken` before, complete or not, wait for nothing more.

        `idle_before_us`: an incomplete episode whose last span was received before this instant (microseconds since
        1970) is taken as it is; None takes all.
        """
        self._forest = forest
        self._readings = readings
        self._idle_before_us = idle_before_us
        self._taken = taken
        self._keys: list[Trace] = list(zip(spans["project"].to_list(), spans["trace_id"].to_list(), strict=True))
        self._is_gateway = (spans["scope_name"] == GATEWAY_SCOPE).fill_null(value=False).to_list()
        self._starts = spans["start_ns"].to_list()
        self._received = spans["received_time"].dt.epoch("us").to_list()
        self._sessions = _sessions(spans, self._keys, readings)
        named = _named(spans, self._keys, readings)
        defaults = {**_joined(calls, self._sessions, named), **named}
        explicit = {
            row: span.attributes[EPISODE_ID]
            for row, span in readings.spans.items()
            if isinstance(span.attributes.get(EPISODE_ID), str) and span.attributes[EPISODE_ID]
        }
        self._named = {(project, name) for (project, _), name in named.items()}
        self._named |= {(self._keys[row][0], name) for row, name in explicit.items()}
        self._own = _assign(forest, self._keys, defaults, explicit)
        _adopt_gateway_traces(spans, self._keys, calls, self._own)

    def move(self, rows: Mapping[int, str]) -> None:
        """Put these rows into other episodes of their projects."""
        for row, episode_id in rows.items():
            self._own[row] = episode_id

    def episodes(self) -> tuple[list[Episode], list[int]]:
        """Return the episodes in order of their key, and the episode's number of every row."""
        by_key: dict[EpisodeKey, Episode] = {}
        for row, episode_id in enumerate(self._own):
            key = (self._keys[row][0], episode_id)
            episode = by_key.get(key)
            if episode is None:
                episode = by_key[key] = Episode(key, is_named=key in self._named)
            episode.rows.append(row)
        episodes = [by_key[key] for key in sorted(by_key)]
        number_of = [0] * len(self._own)
        for number, episode in enumerate(episodes):
            self._describe(episode)
            for row in episode.rows:
                number_of[row] = number
        _share_users(episodes)
        return episodes, number_of

    def _describe(self, episode: Episode) -> None:
        rows, forest = episode.rows, self._forest
        episode.traces = sorted({self._keys[row][1] for row in rows})
        episode.start_ns = min(self._starts[row] for row in rows)
        sessions = {self._sessions.get((episode.key[0], trace)) for trace in episode.traces} - {None}
        episode.session = next(iter(sessions)) if len(sessions) == 1 else None
        agent_side = [row for row in rows if not self._is_gateway[row]]
        tops = [row for row in agent_side or rows if forest.parent[row] == NO_PARENT] or rows
        ended = [row for row in tops if not forest.is_orphan[row]]
        episode.root = min(ended or tops)
        is_open = any(forest.is_orphan[row] for row in rows)
        episode.is_complete = bool(ended) and bool(agent_side) and not is_open
        last_us = max(self._received[row] for row in rows)
        is_idle = self._idle_before_us is None or last_us <= self._idle_before_us
        is_taken = any((episode.key[0], trace) in self._taken for trace in episode.traces)
        episode.is_waiting = not (episode.is_complete or is_idle or is_taken)
        _read_hints(episode, self._readings)


def _sessions(spans: pl.DataFrame, keys: list[Trace], readings: Readings) -> dict[Trace, str]:
    """Return the conversation or session of the traces that have exactly one."""
    found: dict[Trace, set[str]] = defaultdict(set)
    for call in readings.calls:
        if call.conversation_id:
            found[keys[call.span.index]].add(call.conversation_id)
    for agent in readings.agents.values():
        if agent.conversation_id:
            found[keys[agent.span.index]].add(agent.conversation_id)
    told = spans.with_row_index("row").filter(pl.col("attributes").str.contains_any([f'"{name}"' for name in SESSIONS]))
    for row, text in told.select("row", "attributes").iter_rows():
        attributes = json_object(text)
        name = next((attributes[name] for name in SESSIONS if isinstance(attributes.get(name), str)), None)
        if name and keys[row] not in found:
            found[keys[row]].add(name)
    return {key: next(iter(values)) for key, values in found.items() if len(values) == 1}


def _named(spans: pl.DataFrame, keys: list[Trace], readings: Readings) -> dict[Trace, str]:
    """Return the id that the spans of a whole trace have, unless one of them says otherwise."""
    resources = {text: _resource_id(text) for text in spans["resource"].unique().to_list()}
    named: dict[Trace, set[str]] = defaultdict(set)
    if any(resources.values()):
        for key, text in zip(keys, spans["resource"].to_list(), strict=True):
            if resources[text] is not None:
                named[key].add(str(resources[text]))
    for row, span in readings.spans.items():
        value = span.attributes.get(EPISODE_ID)
        if isinstance(value, str) and value:
            named[keys[row]].add(value)
    return {key: next(iter(values)) for key, values in named.items() if len(values) == 1}


def _joined(calls: Iterable[LlmCall], sessions: Mapping[Trace, str], named: Container[Trace]) -> dict[Trace, str]:
    """Return the episode of the traces that go on with an earlier one of their session.

    Such a trace begins with a request that ends in results of tools the earlier one asked for: whoever runs the loop
    is not instrumented, or waited for somebody's consent.
    """
    home: dict[Trace, str] = {}
    asked: dict[tuple[str, str, str], str] = {}
    for call in sorted(calls, key=lambda call: (call.span.start_ns, call.span.span_id)):
        trace = (call.span.project, call.span.trace_id)
        session = sessions.get(trace)
        if session is None or trace in named:
            continue
        if trace not in home:
            results = [(trace[0], session, identifier) for identifier in _answered(call)]
            home[trace] = next((asked[key] for key in results if key in asked), trace[1])
        for message in call.output or ():
            for request in message["tool_calls"]:
                if request["id"]:
                    asked[trace[0], session, request["id"]] = home[trace]
    return {trace: episode_id for trace, episode_id in home.items() if episode_id != trace[1]}


def _answered(call: LlmCall) -> list[str]:
    """Return the ids of the tool calls whose results a request ends in."""
    results = takewhile(lambda message: message["role"] == "tool", reversed(call.input or ()))
    return [message["tool_call_id"] for message in results if message.get("tool_call_id")]


def _share_users(episodes: list[Episode]) -> None:
    """Give episodes that name no user the one that an episode of their session names."""
    users: dict[tuple[str, str], str] = {}
    for episode in sorted(episodes, key=lambda episode: episode.start_ns):
        if episode.session is not None and episode.user is not None:
            users.setdefault((episode.key[0], episode.session), episode.user)
    for episode in episodes if users else ():
        if episode.user is None and episode.session is not None:
            episode.user = users.get((episode.key[0], episode.session))


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
