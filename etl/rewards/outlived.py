"""Applies rewards to published episodes whose spans are gone: their rows stay, with what was given later.

The rows of `llm_calls`, `tool_calls` and `episodes` take the place of the spans: the calls of models and tools, all
that was above a model call, and the root. A reward that names another span finds nothing any more; turns are not
divided anew.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import polars as pl

from etl.calls.readings import Readings
from etl.calls.tree import build_forest
from etl.dialects.spans import LlmCall, Span
from etl.episodes.grouping import Episode
from etl.rewards import rows as published
from etl.rewards.combine import recombine
from etl.rewards.given import Level, Reason, Reward, collect
from etl.rewards.placing import Ground
from etl.rewards.settling import drop_unusable, settle
from etl.schema import TABLES, RejectReason
from etl.settings import EtlConfig
from etl.tables import Dataset, Row, columns, in_order

Tables = dict[str, pl.DataFrame]

BYSTANDERS = [
    RejectReason.EVALUATOR.value,
    RejectReason.EXCLUDED.value,
    RejectReason.REPLAYED.value,
    RejectReason.EMBEDDING.value,
]


def keep_outlived(dataset: Dataset, tables: Mapping[str, pl.DataFrame], logs: pl.DataFrame, config: EtlConfig) -> None:
    """Put the published rows of episodes whose spans are gone into a dataset, in place, with what was given since."""
    told = (
        logs.filter(pl.col("trace_id").is_not_null()).group_by("project", "trace_id").agg(pl.col("received_seq").max())
    )
    seq = {(project, trace): last for project, trace, last in told.iter_rows()}
    rewards = dataset.tables["rewards"]
    is_loose = pl.col("episode_id").is_null()
    of_sessions = rewards.filter(~is_loose & pl.col("names").str.contains('"session"', literal=True))
    own, others = with_rewards(tables, rewards.filter(is_loose), config, seq, of_sessions)
    dataset.tables["rewards"] = pl.concat([rewards.filter(~is_loose), others])
    for name, rows in own.items():
        dataset.tables[name] = in_order(name, pl.concat([dataset.tables[name], rows]))
    dataset.counts["episodes_outlived"] = tables["episodes"].height
    dataset.counts["rewards"] = dict(dataset.tables["rewards"].group_by("reason").len().sort("reason").iter_rows())


def forgotten(before: pl.DataFrame, logs: pl.DataFrame) -> list[Reward]:
    """Return the rewards among published rows that came as records which are not there any more."""
    if before.is_empty():
        return []
    read = {_identity(published.to_row(_unplaced(reward), None)) for reward in collect(Readings(), logs, {})}
    return [published.from_row(row) for row in before.rows(named=True) if _identity(row) not in read]


def _unplaced(reward: Reward) -> Reward:
    is_finite = reward.value is None or reward.value - reward.value == 0
    return replace(reward, reason=Reason.NO_SPAN if is_finite else Reason.NOT_FINITE)


def with_rewards(
    tables: Mapping[str, pl.DataFrame],
    fresh: pl.DataFrame,
    config: EtlConfig,
    seq: Mapping[tuple[str, str], int],
    of_sessions: pl.DataFrame,
) -> tuple[Tables, pl.DataFrame]:
    """Return the published rows of episodes with rewards applied that came since, and the rewards that are not theirs.

    `fresh` are rows of rewards for which the spans at hand held nothing; `seq` the last request that told of a trace;
    `of_sessions` rewards of sessions whose rows are those of episodes at hand, and which hold for these as well.
    """
    before = tables["rewards"].rows(named=True)
    known = {_identity(row) for row in before}
    own = {(row["project"], trace) for row in tables["episodes"].rows(named=True) for trace in row["trace_ids"]}
    later = [row for row in fresh.rows(named=True) if _identity(row) not in known]
    ground, calls_of = _ground(tables, config)
    numbers = {episode.key: number for number, episode in enumerate(ground.episodes)}
    placed: list[Reward] = []
    loose: list[Reward] = []
    for row in [*before, *later]:
        reward = published.from_row(row)
        key = (row["project"], row["episode_id"] or "")
        if row["judges"] is not None and key in numbers:
            reason = reward.reason
            ground.place([reward])
            if (reward.episode, reward.level) != (numbers[key], Level(row["judges"])):
                reward.reason = reason
                published.place_again(reward, row, numbers[key], calls_of[numbers[key]])
            placed.append(reward)
        elif reward.reason is not None:
            reward.episode = numbers.get(key)
            placed.append(reward)
        else:
            loose.append(reward)
    ground.place(loose)
    found = [reward for reward in loose if reward.episode is not None or (reward.project, reward.trace_id) in own]
    rewards, shared = [*placed, *found], _of_sessions(of_sessions, ground)
    drop_unusable([*rewards, *shared], config.reward_sources)
    used = tables["transitions"].select("project", "trace_id", "span_id").rows()
    apart = {call.span.index for call in ground.calls} - {ground.rows[key] for key in used if key in ground.rows}
    outcomes, steps = settle([*rewards, *shared], ground, apart, config.outcome)
    taken = {_identity(published.to_row(reward, None)) for reward in rewards}
    others = fresh.filter([_identity(row) not in taken for row in fresh.rows(named=True)])
    revisions = _revisions(ground.episodes, tables["episodes"]["revision"].to_list(), seq)
    return _updated(tables, ground, rewards, outcomes, steps, revisions, config), others


def _of_sessions(rows: pl.DataFrame, ground: Ground) -> list[Reward]:
    rewards = [published.from_row(row) for row in rows.rows(named=True)]
    ground.place(rewards)
    found = [reward for reward in rewards if reward.reason is None and not reward.calls]
    for reward in found:
        reward.level = Level.SESSION
    return found


def _identity(row: Row) -> tuple[Any, ...]:
    return tuple(row[name] for name in published.IDENTITY)


def _ground(tables: Mapping[str, pl.DataFrame], config: EtlConfig) -> tuple[Ground, list[dict[str, LlmCall]]]:
    """Return what rewards are placed on, and the calls of each episode by span id."""
    ids = ("project", "trace_id", "span_id")
    bystanders = tables["rejected"].filter(pl.col("reason").is_in(BYSTANDERS)).select(ids)
    agents = tables["llm_calls"].join(bystanders, on=ids, how="anti", maintain_order="left").rows(named=True)
    nodes = _Nodes()
    calls: list[LlmCall] = []
    episodes: list[Episode] = []
    readings = Readings()
    by_episode: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for agent in agents:
        by_episode[agent["project"], agent["episode_id"]].append(agent)
    by_episode_tools: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for executed in tables["tool_calls"].filter(pl.col("span_id").is_not_null()).rows(named=True):
        by_episode_tools[executed["project"], executed["episode_id"]].append(executed)
    for row in tables["episodes"].rows(named=True):
        episode = Episode((row["project"], row["episode_id"]), traces=row["trace_ids"], session=row["session_id"])
        episode.start_ns, first = row["start_ns"], len(nodes.rows)
        root = row["root_span_id"]
        own = by_episode[episode.key]
        for call in own:
            above = call["ancestor_span_ids"]
            line = [
                call["span_id"],
                *([root] if above is None and root not in (None, call["span_id"]) else above or ()),
            ]
            index = nodes.add(call["project"], call["trace_id"], line)
            calls.append(LlmCall(_span(index, call), call["dialect"], response_id=call["response_id"]))
        for call, made in zip(own, calls[len(calls) - len(own) :], strict=True):
            for merged in call["merged_span_ids"] or ():
                nodes.named[call["project"], call["trace_id"], merged] = made.span.index
        acting = {call.span.index for call in calls[len(calls) - len(own) :]}
        for tool in by_episode_tools[episode.key]:
            index = nodes.add(tool["project"], tool["trace_id"], [tool["span_id"]])
            if index not in acting:
                readings.spans[index] = _span(index, tool, {"gen_ai.operation.name": "execute_tool"})
        if root is not None:
            found = (nodes.named.get((row["project"], trace, root)) for trace in row["trace_ids"])
            episode.root = next((index for index in found if index is not None), -1)
            if episode.root < 0:
                episode.root = nodes.add(row["project"], row["trace_ids"][0], [root])
            for trace in row["trace_ids"]:
                nodes.named.setdefault((row["project"], trace, root), episode.root)
        episode.rows = list(range(first, len(nodes.rows)))
        episodes.append(episode)
    frame = pl.DataFrame(nodes.rows, schema=dict.fromkeys([*ids, "parent_span_id"], pl.String), orient="row")
    episode_of = [number for number, episode in enumerate(episodes) for _ in episode.rows]
    ground = Ground(build_forest(frame), episodes, episode_of, calls, readings, nodes.named, config.outcome)
    calls_of: list[dict[str, LlmCall]] = [{} for _ in episodes]
    for made in calls:
        calls_of[episode_of[made.span.index]][made.span.span_id] = made
    return ground, calls_of


class _Nodes:
    """The spans that published rows tell of, as the rows of a forest."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str, str, str | None]] = []
        self.named: dict[tuple[str, str, str], int] = {}

    def add(self, project: str, trace_id: str, line: list[str]) -> int:
        """Add a span and those above it, the nearest first, and return its row."""
        for span_id, parent in zip(line, [*line[1:], None], strict=True):
            if (project, trace_id, span_id) not in self.named:
                self.named[project, trace_id, span_id] = len(self.rows)
                self.rows.append((project, trace_id, span_id, parent))
        return self.named[project, trace_id, line[0]]


def _span(index: int, row: Row, attributes: dict[str, Any] | None = None) -> Span:
    return Span(
        index, row["project"], row["trace_id"], row["span_id"], None, "", row["start_ns"], row["end_ns"],
        None, None, "", None, attributes or {},
    )  # fmt: skip


def _revisions(episodes: list[Episode], before: list[int], seq: Mapping[tuple[str, str], int]) -> list[int]:
    """Return the last request that told of each episode's traces."""
    return [
        max([old, *(seq.get((episode.key[0], trace), old) for trace in episode.traces)])
        for episode, old in zip(episodes, before, strict=True)
    ]


def _updated(
    tables: Mapping[str, pl.DataFrame],
    ground: Ground,
    rewards: list[Reward],
    outcomes: list[float | None],
    steps: dict[int, float],
    revisions: list[int],
    config: EtlConfig,
) -> Tables:
    """Return the rows with these outcomes and step rewards."""
    key = ["project", "episode_id"]
    ended = (
        tables["episodes"]
        .select(key)
        .with_columns(_outcome=pl.Series(outcomes, dtype=pl.Float64), _revision=pl.Series(revisions, dtype=pl.Int64))
    )
    spans = {call.span.index: call.span for call in ground.calls}
    given = [(spans[row].project, spans[row].trace_id, spans[row].span_id, value) for row, value in steps.items()]
    columns_of_steps = {**dict.fromkeys(["project", "trace_id", "span_id"], pl.String), "_step": pl.Float64}
    steps_frame = pl.DataFrame(given, schema=columns_of_steps, orient="row")
    episodes = tables["episodes"].join(ended, on=key, how="left", maintain_order="left")
    transitions = (
        tables["transitions"]
        .join(ended, on=key, how="left", maintain_order="left")
        .join(steps_frame, on=["project", "trace_id", "span_id"], how="left", maintain_order="left")
        .with_columns(outcome="_outcome", revision="_revision", reward_step="_step")
    )
    whole = [None if reward.episode is None else ground.episodes[reward.episode] for reward in rewards]
    return {
        **tables,
        "episodes": episodes.with_columns(outcome="_outcome", revision="_revision").select(*TABLES["episodes"]),
        "transitions": recombine(transitions, config).select(*TABLES["transitions"]),
        "rewards": columns(TABLES["rewards"], [published.to_row(r, e) for r, e in zip(rewards, whole, strict=True)]),
    }
