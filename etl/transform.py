"""Spans and log records in, the published tables out: pure, and the same whatever order the rows came in."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import polars as pl

from etl.agents import Surroundings, name_agents
from etl.alignment import align_item_ids
from etl.attribution import Causes, Rule
from etl.calls import Readings, read_all
from etl.completion import (
    complete_answers,
    complete_from_around,
    complete_histories,
    complete_models,
    complete_offers,
    complete_tools,
)
from etl.dialects.spans import LlmCall, ToolCall
from etl.episodes import Episode, group_episodes
from etl.merge import merge_calls
from etl.rewards import air, given
from etl.rewards.sql import RewardQuery, query_rewards
from etl.schema import TABLES
from etl.settings import EtlConfig
from etl.tables import Dataset, Row, frame, json_text
from etl.tokens import Decode, mismatched
from etl.transitions import Signals, build_transitions, episode_split, reject, task_ids
from etl.tree import NO_PARENT, Forest, build_forest
from etl.untraced_tools import DIALECT as UNTRACED
from etl.untraced_tools import find_untraced

NEEDED = ("project", "trace_id", "span_id", "start_ns", "end_ns")
"""A span without one of these cannot be placed."""


def transform(
    spans: pl.DataFrame,
    logs: pl.DataFrame,
    config: EtlConfig,
    *,
    now_us: int | None = None,
    queries: Sequence[RewardQuery] = (),
    decode: Decode | None = None,
) -> Dataset:
    """Turn whole traces, in the receiver's columns, into the published tables.

    `queries` add rewards of their own; with `decode` token ids are compared with the text.

    `now_us` is the instant idleness is measured against, microseconds since 1970; None takes every trace as it is.
    """
    spans_in = spans.height
    spans, rejected = _clean(spans)
    logs = _unique_logs(logs)
    forest = build_forest(spans)
    readings = read_all(spans.with_row_index("row"), logs)
    rewards = given.collect(readings, logs) + query_rewards(queries, spans, logs)
    calls, wrappers = merge_calls(readings.calls, forest)
    align_item_ids(calls)
    agent_rows = name_agents(calls, readings, forest)
    idle_before_us = None if now_us is None or not config.complete_after else now_us - int(config.complete_after * 1e6)
    episodes, episode_of = group_episodes(spans, forest, readings, calls, idle_before_us=idle_before_us)
    keep = [not episode.is_waiting for episode in episodes]
    complete_tools(readings.tools, calls, readings.facts)
    causes = _attribute(readings, calls, episode_of, agent_rows, forest)
    pairs = [(tool, call) for tool, call, _ in causes]
    complete_from_around(calls, readings.answers)
    complete_histories(calls)
    complete_models(calls)
    complete_answers(calls, pairs)
    complete_offers(calls, pairs)
    rows = {
        (project, trace_id, span_id): row
        for row, (project, trace_id, span_id) in enumerate(spans.select("project", "trace_id", "span_id").iter_rows())
    }
    outcomes, steps = given.settle(rewards, rows, calls, episode_of, episodes, config.outcome, config.reward_sources)
    facts = _Facts(spans, logs)
    builder = _Builder(config, forest, facts, readings, rejected, mismatched(calls, decode))
    by_episode: dict[int, list[LlmCall]] = defaultdict(list)
    for call in sorted(calls, key=lambda call: (call.span.start_ns, call.span.span_id)):
        by_episode[episode_of[call.span.index]].append(call)
    measures = _measure(episodes, by_episode, outcomes, pairs, config)
    for number, episode in enumerate(episodes):
        if keep[number]:
            builder.add_episode(
                episode, by_episode.get(number, []), agent_rows, Signals(outcomes[number], steps, measures)
            )
    builder.add_tools([entry for entry in causes if keep[episode_of[entry[0].span.index]]], episodes, episode_of)
    builder.add_rewards(rewards, episodes, keep)
    tables = {table: frame(table, builder.rows[table]) for table in TABLES}
    counts = _count(spans_in, rejected, readings, calls, wrappers, episodes, episode_of, keep, tables)
    pending = sorted({(e.key[0], trace) for e in episodes if e.is_waiting for trace in e.traces})
    return Dataset(tables, counts, pending)


def _measure(
    episodes: list[Episode],
    by_episode: dict[int, list[LlmCall]],
    outcomes: list[float | None],
    pairs: list[tuple[ToolCall, LlmCall | None]],
    config: EtlConfig,
) -> air.Measures:
    """Measure the signals of all calls; progress is estimated over all episodes at once."""
    numbers = sorted(by_episode)
    courses = [by_episode[number] for number in numbers]
    found = air.measure(courses, pairs, config)
    tasks = [next(iter(task_ids(episodes[n], calls).values())) for n, calls in zip(numbers, courses, strict=True)]
    air.add_progress(found, courses, tasks, [outcomes[number] for number in numbers], config.discount)
    return found


def _clean(spans: pl.DataFrame) -> tuple[pl.DataFrame, list[Row]]:
    """Set aside spans that cannot be placed and repeated ones; order the rest as everything is built on it.

    Of two spans with one id the one that ended later is kept, then the one with the larger content.
    """
    usable = pl.all_horizontal(pl.col(name).is_not_null() for name in NEEDED)
    rejected: list[Row] = [
        _rejected_span(row, "clean", "no_identity") for row in spans.filter(~usable).iter_rows(named=True)
    ]
    content = pl.struct("name", "parent_span_id", "attributes", "events", "status_code", "status_message")
    ordered = (
        spans.filter(usable)
        .with_columns(_content=content.struct.json_encode())
        .sort("project", "trace_id", "span_id", "end_ns", "_content", "received_seq", nulls_last=False)
    )
    is_last = pl.struct("project", "trace_id", "span_id").is_last_distinct()
    marked = ordered.with_columns(_kept=is_last).drop("_content")
    rejected += [
        _rejected_span(row, "clean", "duplicate") for row in marked.filter(~pl.col("_kept")).iter_rows(named=True)
    ]
    kept = marked.filter("_kept").drop("_kept").sort("project", "trace_id", "start_ns", "span_id")
    return kept, rejected


def _rejected_span(row: Row, stage: str, reason: str, detail: str | None = None) -> Row:
    return {
        "project": row["project"],
        "trace_id": row["trace_id"],
        "span_id": row["span_id"],
        "stage": stage,
        "reason": reason,
        "detail": detail,
    }


def _unique_logs(logs: pl.DataFrame) -> pl.DataFrame:
    """Drop records that came twice: same ids, time and content."""
    identity = ["project", "trace_id", "span_id", "time_ns", "event_name", "body", "attributes"]
    return logs.sort("received_seq", "record_index").unique(identity, keep="first", maintain_order=True)


def _attribute(
    readings: Readings, calls: list[LlmCall], episode_of: list[int], agent_rows: dict[int, int], forest: Forest
) -> list[tuple[ToolCall, LlmCall | None, Rule | None]]:
    tools = _unique_tools(readings.tools, forest)
    named = Surroundings(forest, {row for row, agent in readings.agents.items() if agent.name})
    index = Causes(calls, episode_of, agent_rows, forest)
    found = []
    for tool in tools:
        call, rule = index.find(tool, named.nearest(tool.span.index))
        found.append((tool, call, rule))
    in_order = sorted(calls, key=lambda call: (call.span.start_ns, call.span.span_id))
    untraced = find_untraced(in_order, tools, episode_of)
    return found + [(tool, call, Rule.MESSAGE) for tool, call in untraced]


def _unique_tools(tools: list[ToolCall], forest: Forest) -> list[ToolCall]:
    """Keep one of a tool execution seen by two layers: of nested ones with one name, the one that tells more."""
    by_row = {tool.span.index: tool for tool in tools}
    dropped: set[int] = set()
    for tool in sorted(tools, key=lambda tool: -forest.enter[tool.span.index]):
        above = forest.parent[tool.span.index]
        outer = by_row.get(above)
        if outer is not None and outer.name == tool.name:
            loser, winner = (outer, tool) if _told(tool) > _told(outer) else (tool, outer)
            winner.tool_call_id = winner.tool_call_id or loser.tool_call_id
            winner.error = winner.error or loser.error
            dropped.add(loser.span.index)
    return [tool for tool in tools if tool.span.index not in dropped]


def _told(tool: ToolCall) -> int:
    return sum(value is not None for value in (tool.arguments, tool.result, tool.error, tool.tool_call_id))


class _Facts:
    """Columns of the spans that episodes are described with, by row."""

    def __init__(self, spans: pl.DataFrame, logs: pl.DataFrame) -> None:
        self.names = spans["name"].to_list()
        self.services = spans["service_name"].to_list()
        self.start_ns = spans["start_ns"].to_list()
        self.end_ns = spans["end_ns"].to_list()
        self.received_seq = spans["received_seq"].to_list()
        self.log_seq: dict[tuple[str, str], int] = {
            (project, trace_id): seq
            for project, trace_id, seq in logs.filter(pl.col("trace_id").is_not_null())
            .group_by("project", "trace_id")
            .agg(pl.col("received_seq").max())
            .iter_rows()
        }

    def revision(self, episode: Episode) -> int:
        """Return the last request that told of the episode: it grows with every late span, and with nothing else."""
        own = max(self.received_seq[row] for row in episode.rows)
        return int(max(own, *(self.log_seq.get((episode.key[0], trace), own) for trace in episode.traces)))


class _Builder:
    """Collects the rows of the published tables."""

    def __init__(
        self,
        config: EtlConfig,
        forest: Forest,
        facts: _Facts,
        readings: Readings,
        rejected: list[Row],
        mismatches: set[int],
    ) -> None:
        self.rows: dict[str, list[Row]] = {table: [] for table in TABLES}
        self.rows["rejected"] = rejected
        self._config = config
        self._facts = facts
        self._mismatches = mismatches
        self._judged = Surroundings(forest, set(readings.evaluations))

    def add_episode(self, episode: Episode, calls: list[LlmCall], agent_rows: dict[int, int], signals: Signals) -> None:
        """Add an episode, its calls in the order they began, and its transitions."""
        revision = self._facts.revision(episode)
        usable: list[LlmCall] = []
        for call in calls:
            self.rows["llm_calls"].append(_call_row(call, episode))
            is_evaluator = self._judged.nearest(call.span.index) != NO_PARENT
            is_mismatch = call.span.index in self._mismatches
            reason = reject(call, is_evaluator=is_evaluator, is_mismatch=is_mismatch)
            if reason is None:
                usable.append(call)
            else:
                span = {"project": call.span.project, "trace_id": call.span.trace_id, "span_id": call.span.span_id}
                self.rows["rejected"].append(_rejected_span(span, "transitions", reason.value))
        transitions = build_transitions(episode, usable, agent_rows, signals, self._config, revision)
        self.rows["transitions"] += transitions
        facts, rows = self._facts, episode.rows
        task_id = transitions[0]["task_id"] if transitions else episode.task_id
        self.rows["episodes"].append(
            {
                "project": episode.key[0],
                "episode_id": episode.key[1],
                "trace_ids": episode.traces,
                "root_name": facts.names[episode.root],
                "service_name": facts.services[episode.root],
                "start_ns": min(facts.start_ns[row] for row in rows),
                "end_ns": max(facts.end_ns[row] for row in rows),
                "task_id": task_id,
                "agents": sorted({call.agent for call in calls if call.agent}),
                "num_spans": len(rows),
                "num_transitions": len(transitions),
                "outcome": signals.outcome,
                "is_complete": episode.is_complete,
                "stop_reason": transitions[-1]["stop_reason"] if transitions else None,
                "revision": revision,
                "split": episode_split(episode, usable, self._config).value,
            }
        )

    def add_tools(
        self,
        causes: Iterable[tuple[ToolCall, LlmCall | None, Rule | None]],
        episodes: list[Episode],
        episode_of: list[int],
    ) -> None:
        """Add the tool calls."""
        for tool, call, rule in causes:
            span, is_traced = tool.span, tool.dialect != UNTRACED
            self.rows["tool_calls"].append(
                {
                    "project": span.project,
                    "trace_id": span.trace_id,
                    "span_id": span.span_id if is_traced else None,
                    "parent_span_id": span.parent_span_id if is_traced else span.span_id,
                    "episode_id": episodes[episode_of[span.index]].key[1],
                    "start_ns": span.start_ns if is_traced else span.end_ns,
                    "end_ns": span.end_ns if is_traced else None,
                    "dialect": tool.dialect,
                    "agent": call.agent if call is not None else None,
                    "name": tool.name,
                    "tool_call_id": tool.tool_call_id,
                    "arguments": json_text(tool.arguments),
                    "result": tool.result,
                    "error": tool.error,
                    "caused_by_span_id": call.span.span_id if call is not None else None,
                    "attribution_rule": rule.value if rule is not None else None,
                }
            )

    def add_rewards(self, rewards: list[given.Reward], episodes: list[Episode], keep: list[bool]) -> None:
        """Add the rewards, used or not."""
        for reward in rewards:
            if reward.episode is not None and not keep[reward.episode]:
                continue
            assert reward.reason is not None
            self.rows["rewards"].append(
                {
                    "project": reward.project,
                    "trace_id": reward.trace_id,
                    "span_id": reward.span_id,
                    "episode_id": episodes[reward.episode].key[1] if reward.episode is not None else None,
                    "name": reward.name,
                    "value": reward.value,
                    "label": reward.label,
                    "explanation": reward.explanation,
                    "source": reward.source,
                    "time_ns": reward.time_ns,
                    "used": reward.reason in {given.Reason.OUTCOME, given.Reason.STEP},
                    "reason": reward.reason.value,
                }
            )


def _call_row(call: LlmCall, episode: Episode) -> Row:
    span = call.span
    return {
        "project": span.project,
        "trace_id": span.trace_id,
        "span_id": span.span_id,
        "parent_span_id": span.parent_span_id,
        "episode_id": episode.key[1],
        "start_ns": span.start_ns,
        "end_ns": span.end_ns,
        "dialect": call.dialect,
        "scope_name": span.scope or None,
        "api": call.api,
        "agent": call.agent,
        "provider": call.provider,
        "model_requested": call.model_requested,
        "model_returned": call.model_returned,
        "streamed": call.streamed,
        "params": json_text(call.params),
        "tools": json_text(call.tools),
        "input": json_text(call.input),
        "output": json_text(call.output),
        "usage": json_text(call.usage),
        "response_id": call.response_id,
        "conversation_id": call.conversation_id,
        "error": json_text(call.error),
        "prompt_token_ids": call.prompt_token_ids,
        "response_token_ids": call.response_token_ids,
        "behavior_logprobs": call.behavior_logprobs,
        "logprobs_mode": call.logprobs_mode,
        "policy_version": call.policy_version,
        "tokenizer_digest": call.tokenizer_digest,
        "chat_template_digest": call.chat_template_digest,
        "truncated": call.truncated,
        "merged_span_ids": sorted(other.span_id for other in call.merged),
    }


def _count(
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
            ignored["ordinary"] += 1
    clean: Counter[str] = Counter(str(row["reason"]) for row in rejected if row["stage"] == "clean")
    calls_rejected: Counter[str] = Counter(str(row["reason"]) for row in rejected if row["stage"] == "transitions")
    reasons = tables["rewards"].group_by("reason").len().sort("reason").iter_rows()
    evidence = tables["transitions"].group_by("evidence").len().sort("evidence").iter_rows()
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
            "transitions": tables["transitions"].height,
            "rejected": dict(sorted(calls_rejected.items())),
        },
        "rewards": dict(reasons),
        "evidence": dict(evidence),
        "episodes": sum(keep),
        "episodes_waiting": len(episodes) - sum(keep),
        "unread_scopes": dict(sorted(readings.unread.items())),
    }
