"""Logged states: where an agent stood when it was its turn, what it did from there, and what its tools said."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

import polars as pl

from etl.schema import NOT_TAKEN, table_files
from foundation.errors import GateRefused, SettingsError
from spanloop.replay.messages import Message, ToolCall, key_of, plain_text

ToolsFrom = Literal["episode", "task", "all"]

LEAST_LIMIT, TIMES_THE_LONGEST = 256, 4
"""Tokens that any answer may have, and how much longer than the longest recorded one."""

CHARACTERS_A_TOKEN = 3
"""Where nobody counted."""

COLUMNS = (
    *("project", "episode_id", "trace_id", "span_id", "next_span_id", "agent", "step", "task_id", "split"),
    *("observation", "tools", "action", "media", "params", "temperature", "outcome", "behavior_model"),
    *("start_ns", "end_ns", "evidence"),
)


@dataclass(frozen=True)
class Turn:
    """One recorded answer on the way."""

    action: Message
    duration_s: float | None
    tokens: tuple[int, int] | None
    """Of prompt and answer; null where nobody counted them."""

    span_id: str = ""


@dataclass(frozen=True)
class State:
    """A conversation that waited for an agent, and the recorded answers until it was somebody else's turn."""

    project: str
    episode_id: str
    trace_id: str
    agent: str | None
    task: str
    split: str
    messages: list[Message]
    tools: list[dict[str, Any]] | None
    turns: list[Turn]
    outcome: float | None
    """Of its episode."""

    sampling: dict[str, Any] = field(default_factory=dict)
    """Recorded parameters of the first answer, by their names in the chat API."""

    results: dict[ToolCall, list[str]] = field(default_factory=dict)
    """What tools said in its episode, by what they were asked, in order."""

    model: str | None = None
    evidence: str | None = None

    @property
    def name(self) -> str:
        """A name that no other state of the data has."""
        return f"{self.project}/{self.episode_id}/{self.turns[0].span_id}"

    @property
    def last(self) -> Message:
        """The last recorded answer."""
        return self.turns[-1].action


def read_states(
    data: Path,
    *,
    agents: Sequence[str] = (),
    split: str | None = None,
    since: datetime | None = None,
    tools_from: ToolsFrom = "episode",
    limit: int | None = None,
) -> list[State]:
    """Return the logged states of the agents asked for, in an order that more data changes little.

    Left out is what cannot be asked anew in words: token ids alone, pictures, conversations that are not whole. With a
    limit they are the first by the hash of their task, so that attempts at one task stay together.
    """
    rows = _rows(data, agents=agents, split=split, since=since)
    usage = _usage(data)
    by_episode: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in rows.iter_rows(named=True):
        by_episode[row["project"], row["episode_id"]].append(row)
    found = [state for own in by_episode.values() for state in _states_of(own, usage)]
    if tools_from != "episode":
        found = _share_results(found, by_task=tools_from == "task")
    tasks = sorted({state.task for state in found}, key=_shuffled)
    place = {task: number for number, task in enumerate(tasks)}
    found.sort(key=lambda state: (place[state.task], state.name))
    return found if limit is None else found[:limit]


def _rows(data: Path, *, agents: Sequence[str], split: str | None, since: datetime | None) -> pl.DataFrame:
    if not data.is_dir():
        raise SettingsError(f"{data} is no directory", hint="--data takes the directory that etl run publishes to.")
    files = table_files(data, "transitions")
    if not files:
        raise GateRefused(f"nothing is published in {data}", hint=f"Publish transitions first: etl run --data {data}")
    published = pl.scan_parquet(files, missing_columns="insert", extra_columns="ignore")
    rows = published.filter(pl.col("stop_reason").ne_missing(NOT_TAKEN)).select(COLUMNS).collect()
    named = sorted({str(name) for name in rows["agent"].unique() if name is not None})
    if agents:
        chosen = [name for name in named if any(fnmatchcase(name, pattern) for pattern in agents)]
        if not chosen:
            raise SettingsError(
                f"no agent is called {', '.join(agents)} in {data}",
                hint=f"There are: {', '.join(named) or 'none named'}.",
            )
        rows = rows.filter(pl.col("agent").is_in(chosen))
    if split is not None:
        rows = rows.filter(pl.col("split") == split)
    if since is not None:
        instant = since if since.tzinfo else since.replace(tzinfo=UTC)
        began = pl.col("start_ns").min().over("project", "episode_id")
        rows = rows.filter(began >= int(instant.timestamp() * 1e9))
    return rows.sort("project", "episode_id", "step", "span_id")


def _usage(data: Path) -> dict[str, tuple[int, int]]:
    """Return the recorded tokens of prompt and answer by span."""
    files = table_files(data, "llm_calls")
    if not files:
        return {}
    calls = pl.scan_parquet(files, missing_columns="insert", extra_columns="ignore")
    found: dict[str, tuple[int, int]] = {}
    for span_id, text in calls.select("span_id", "usage").drop_nulls().collect().iter_rows():
        counted = json.loads(text)
        prompt = counted.get("input_tokens", counted.get("prompt_tokens"))
        answer = counted.get("output_tokens", counted.get("completion_tokens"))
        if isinstance(prompt, int) and isinstance(answer, int):
            found[span_id] = (prompt, answer)
    return found


def _states_of(rows: list[dict[str, Any]], usage: dict[str, tuple[int, int]]) -> Iterator[State]:
    """Cut the answers of an episode where somebody else than a tool spoke: each cut is a state."""
    by_span = {row["span_id"]: row for row in rows}
    follows = {row["next_span_id"] for row in rows if row["next_span_id"] in by_span}
    results = _results(rows)
    for head in rows:
        if head["span_id"] in follows:
            continue
        chain, seen = list[dict[str, Any]](), set[str]()
        row: dict[str, Any] | None = head
        while row is not None and row["span_id"] not in seen:
            seen.add(row["span_id"])
            chain.append(row)
            row = by_span.get(row["next_span_id"])
        yield from _cut(chain, usage, results)


def _cut(
    chain: list[dict[str, Any]], usage: dict[str, tuple[int, int]], results: dict[ToolCall, list[str]]
) -> Iterator[State]:
    begun: list[dict[str, Any]] = []
    for row in chain:
        if begun and not _goes_on(begun[-1], row):
            yield from _state(begun, usage, results)
            begun = []
        begun.append(row)
    yield from _state(begun, usage, results)


def _goes_on(before: dict[str, Any], row: dict[str, Any]) -> bool:
    """Tell whether a call was made because the tools of the one before had answered."""
    asked = json.loads(before["action"] or "{}").get("tool_calls")
    shown = json.loads(row["observation"] or "[]")
    return bool(asked) and bool(shown) and shown[-1]["role"] == "tool"


def _state(
    rows: list[dict[str, Any]], usage: dict[str, tuple[int, int]], results: dict[ToolCall, list[str]]
) -> Iterator[State]:
    first = rows[0]
    is_asked = all(row["action"] and row["observation"] for row in rows) and not any(row["media"] for row in rows)
    messages = json.loads(first["observation"] or "[]")
    if not is_asked or not messages:
        return
    yield State(
        first["project"],
        first["episode_id"],
        first["trace_id"],
        first["agent"],
        f"{first['project']}/{first['task_id']}",
        first["split"],
        messages,
        json.loads(first["tools"]) if first["tools"] else None,
        [Turn(json.loads(row["action"]), _duration_s(row), usage.get(row["span_id"]), row["span_id"]) for row in rows],
        next((row["outcome"] for row in rows if row["outcome"] is not None), None),
        _sampling(first),
        results,
        first["behavior_model"],
        first["evidence"],
    )


def _results(rows: list[dict[str, Any]]) -> dict[ToolCall, list[str]]:
    """Return what tools said in an episode, as its requests show it."""
    found: dict[ToolCall, dict[tuple[str, int], str]] = defaultdict(dict)
    for row in rows:
        asked: dict[str, ToolCall] = {}
        for place, message in enumerate(json.loads(row["observation"] or "[]")):
            if message["role"] == "assistant":
                asked |= {str(call.get("id")): key_of(call) for call in message.get("tool_calls") or ()}
            elif message["role"] == "tool" and (key := asked.get(str(message.get("tool_call_id")))) is not None:
                found[key][str(message["tool_call_id"]), place] = message.get("text") or ""
    return {key: list(said.values()) for key, said in found.items()}


def _share_results(states: list[State], *, by_task: bool) -> list[State]:
    """Let states know what tools said elsewhere, where all that were asked the same said the same."""
    said: dict[str, dict[ToolCall, set[str]]] = defaultdict(lambda: defaultdict(set))
    for state in states:
        for key, results in state.results.items():
            said[state.task if by_task else ""][key] |= set(results)
    shared = {
        place: {key: list(texts) for key, texts in known.items() if len(texts) == 1} for place, known in said.items()
    }
    return [
        State(**{**state.__dict__, "results": shared.get(state.task if by_task else "", {}) | state.results})
        for state in states
    ]


def _duration_s(row: dict[str, Any]) -> float | None:
    if row["start_ns"] is None or row["end_ns"] is None:
        return None
    return float(max(0, row["end_ns"] - row["start_ns"]) / 1e9)


def _sampling(row: dict[str, Any]) -> dict[str, Any]:
    """Return what the recorded call was sampled with, of what any chat API takes."""
    params = json.loads(row["params"] or "{}")
    found = {name: params[name] for name in ("top_p", "max_tokens", "stop") if params.get(name) is not None}
    if "max_tokens" not in found and isinstance(params.get("max_completion_tokens"), int):
        found["max_tokens"] = params["max_completion_tokens"]
    if row["temperature"] is not None:
        found["temperature"] = row["temperature"]
    return found


def _shuffled(task: str) -> str:
    from hashlib import sha256

    return sha256(task.encode()).hexdigest()


def longest_answer(states: Iterable[State]) -> int:
    """Return how many tokens an answer to any of the states may have: far more than were ever recorded.

    >>> longest_answer([])
    256
    """
    turns = [turn for state in states for turn in state.turns]
    written = max((len(json.dumps(turn.action)) for turn in turns), default=0)
    counted = max((turn.tokens[1] for turn in turns if turn.tokens is not None), default=0)
    return max(LEAST_LIMIT, TIMES_THE_LONGEST * (counted or written // CHARACTERS_A_TOKEN))


def question_of(state: State) -> str:
    """Return what the state asks, without its system message, to know another attempt at the same by."""
    return json.dumps(
        [[message["role"], plain_text(message)] for message in state.messages if message["role"] != "system"]
    )
