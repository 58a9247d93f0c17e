"""Assembles the rows of the published tables from what the steps before it found."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

import polars as pl

from etl.calls.completing.untraced_tools import DIALECT as UNTRACED
from etl.calls.tokens import Decode
from etl.calls.tree import Forest
from etl.clean import rejected_span
from etl.dialects.shapes.media import media_of, plain
from etl.dialects.spans import Embedding, LlmCall, ToolCall
from etl.episodes.attribution import Rule
from etl.episodes.choices import others as other_choices
from etl.episodes.grouping import Episode
from etl.rewards.given import Reward
from etl.rewards.rows import to_row
from etl.schema import NOT_TAKEN, TABLES, RejectReason
from etl.settings import EtlConfig
from etl.tables import STEP, Row, columns, in_order, json_text, last_told
from etl.transitions import (
    TRANSITION_COLUMNS,
    Signals,
    build_transitions,
    with_calls,
)


class Facts:
    """Columns of the spans that episodes are described with, by row."""

    def __init__(self, spans: pl.DataFrame, logs: pl.DataFrame, forest: Forest | None = None) -> None:
        self._forest = forest
        self.names = spans["name"].to_list()
        self.span_ids = spans["span_id"].to_list()
        self.services = spans["service_name"].to_list()
        self.start_ns = spans["start_ns"].to_list()
        self.end_ns = spans["end_ns"].to_list()
        self.received_seq = spans["received_seq"].to_list()
        told = logs.filter(pl.col("trace_id").is_not_null()).group_by(
            "project", "trace_id", pl.col("received_seq") // STEP
        )
        self.log_seq: dict[tuple[str, str], list[int]] = defaultdict(list)
        for project, trace_id, _, last in told.agg(last=pl.col("received_seq").max()).iter_rows():
            self.log_seq[project, trace_id].append(last)

    def above(self, row: int) -> list[str]:
        """Return the ids of the spans above a row's, the nearest first."""
        return [] if self._forest is None else [self.span_ids[upper] for upper in self._forest.ancestors(row)]

    def revision(self, episode: Episode) -> int:
        """Return the last request that told of the episode: it grows with every late span, and with nothing else."""
        told = [self.received_seq[row] for row in episode.rows]
        for trace in episode.traces:
            told += self.log_seq.get((episode.key[0], trace), ())
        return last_told(told)


class Assembly:
    """Collects the rows of the published tables."""

    def __init__(
        self,
        config: EtlConfig,
        facts: Facts,
        rejected: list[Row],
        apart: dict[int, RejectReason],
        decode: Decode | None = None,
    ) -> None:
        self.rows: dict[str, list[Row]] = {table: [] for table in TABLES}
        self.rows["rejected"] = rejected
        self._config = config
        self._facts = facts
        self._apart = apart
        self._decode = decode
        self._positions: dict[int, int] = {}

    def add_episode(self, episode: Episode, calls: list[LlmCall], agent_rows: dict[int, int], signals: Signals) -> None:
        """Add an episode, its calls in the order they began, and its transitions."""
        revision = self._facts.revision(episode)
        usable: list[LlmCall] = []
        own = self.rows["llm_calls"]
        for call in calls:
            self._positions[call.span.index] = len(own)
            own.append(_call_row(call, episode, self._facts.above(call.span.index)))
            reason = self._apart.get(call.span.index)
            if reason is None:
                usable.append(call)
            else:
                span = {"project": call.span.project, "trace_id": call.span.trace_id, "span_id": call.span.span_id}
                self.rows["rejected"].append(rejected_span(span, "transitions", reason.value))
        several = [call for call in usable if len(call.output or ()) > 1] if self._config.other_choices else []
        others = {call.span.index: other_choices(call, self._decode) for call in several}
        transitions = build_transitions(
            episode, usable, agent_rows, signals, self._config, revision, self._positions, own, others
        )
        self.rows["transitions"] += transitions
        facts, rows = self._facts, episode.rows
        task_id = transitions[0]["task_id"] if transitions else episode.task_id
        self.rows["episodes"].append(
            {
                "project": episode.key[0],
                "episode_id": episode.key[1],
                "session_id": episode.session,
                "trace_ids": episode.traces,
                "root_name": facts.names[episode.root],
                "root_span_id": facts.span_ids[episode.root],
                "service_name": facts.services[episode.root],
                "start_ns": min(facts.start_ns[row] for row in rows),
                "end_ns": max(facts.end_ns[row] for row in rows),
                "task_id": task_id,
                "agents": sorted({call.agent for call in calls if call.agent}),
                "num_spans": len(rows),
                "num_transitions": len(usable),
                "outcome": signals.outcome,
                "is_complete": episode.is_complete,
                "stop_reason": _stop_reason(transitions),
                "revision": revision,
                "first_seq": min(facts.received_seq[row] for row in rows),
                "split": signals.side.split.value,
                "split_group": signals.side.group,
                "split_signature": None if signals.side.signature is None else signals.side.signature.tolist(),
            }
        )

    def tables(self) -> dict[str, pl.DataFrame]:
        """Return the tables; what transitions have in common with their calls is taken over column by column."""
        tables = {name: columns(TABLES[name], self.rows[name]) for name in TABLES if name != "transitions"}
        own = columns(TRANSITION_COLUMNS, self.rows["transitions"])
        tables["transitions"] = with_calls(own, tables["llm_calls"])
        return {name: in_order(name, tables[name]) for name in TABLES}

    def add_embeddings(self, embeddings: Iterable[Embedding], episodes: list[Episode], episode_of: list[int]) -> None:
        """Add the calls of embeddings APIs, which are no transitions."""
        for embedding in embeddings:
            span = embedding.call.span
            vectors = [{"embedding_dimensions": size} for size in embedding.dimensions]
            own = dict(_call_row(embedding.call, episodes[episode_of[span.index]], self._facts.above(span.index)))
            own |= {"input": json_text(embedding.texts or None), "output": json_text(vectors or None)}
            self.rows["llm_calls"].append(own)
            ids = {"project": span.project, "trace_id": span.trace_id, "span_id": span.span_id}
            self.rows["rejected"].append(rejected_span(ids, "transitions", RejectReason.EMBEDDING.value))

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
                    "start_ns": span.start_ns if is_traced or call is None else span.end_ns,
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

    def add_rewards(self, rewards: list[Reward], episodes: list[Episode], keep: list[bool]) -> None:
        """Add the rewards, used or not."""
        for reward in rewards:
            if reward.episode is None or keep[reward.episode]:
                episode = None if reward.episode is None else episodes[reward.episode]
                self.rows["rewards"].append(to_row(reward, episode))


def _stop_reason(transitions: Sequence[Row]) -> str | None:
    """Return why an episode ended, of its last transition."""
    reasons = (row["stop_reason"] for row in reversed(transitions) if row["stop_reason"] != NOT_TAKEN)
    return next(reasons, None)


def _call_row(call: LlmCall, episode: Episode, above: list[str]) -> Row:
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
        "input": json_text(plain(call.input)),
        "media": json_text(media_of(call.input)),
        "output": json_text(call.output),
        "choice": call.choice if call.output else None,
        "usage": json_text(call.usage),
        "response_id": call.response_id,
        "previous_response_id": call.previous_response_id,
        "conversation_id": call.conversation_id,
        "error": json_text(call.error),
        "prompt_token_ids": call.prompt_token_ids,
        "response_token_ids": call.response_token_ids,
        "behavior_logprobs": call.behavior_logprobs,
        "logprobs_mode": call.logprobs_mode,
        "policy_version": call.policy_version,
        "tokenizer_digest": call.tokenizer_digest,
        "chat_template_digest": call.chat_template_digest,
        "prompt_name": call.prompt_name,
        "prompt_version": call.prompt_version,
        "truncated": call.truncated,
        "merged_span_ids": sorted(other.span_id for other in call.merged),
        "ancestor_span_ids": above,
    }
