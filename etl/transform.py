"""Spans and log records in, the published tables out: pure, and the same whatever order the rows came in."""

from collections import defaultdict
from collections.abc import Collection, Hashable, Mapping, Sequence

import polars as pl

from etl.assemble import Assembly, Facts
from etl.calls.agents import Surroundings, name_agents
from etl.calls.completing.alignment import align_item_ids
from etl.calls.completing.answers import complete_answers, complete_empty_answers, complete_from_facts, complete_models
from etl.calls.completing.bystanders import find_bystanders, find_replayed
from etl.calls.completing.continuations import complete_continuations
from etl.calls.completing.conversations import complete_conversations
from etl.calls.completing.errors import complete_errors
from etl.calls.completing.histories import complete_histories
from etl.calls.completing.offers import complete_offers
from etl.calls.completing.server_history import Stored, note_previous, rebuild_histories, spread_incompleteness
from etl.calls.completing.tools import complete_arguments, complete_tools
from etl.calls.completing.untraced_tools import find_untraced
from etl.calls.find import read_all
from etl.calls.losses import judge_losses
from etl.calls.merge import merge_calls, unique_embeddings
from etl.calls.readings import Readings
from etl.calls.retries import attempts, thrown_away
from etl.calls.tokens import Decode, drop_impossible, mismatched
from etl.calls.tool_layers import unique_tools
from etl.calls.tree import Forest, build_forest
from etl.calls.wholeness import judge, judge_answers_by_histories, judge_by_histories, judge_instructions
from etl.clean import clean, unique_logs
from etl.counts import count
from etl.dialects.spans import LlmCall, ToolCall
from etl.episodes.attribution import Causes, Rule
from etl.episodes.choices import choose
from etl.episodes.grouping import Episode, Grouping, Trace
from etl.episodes.lineage import in_order, number_beginnings
from etl.episodes.splits import assign_sides
from etl.rewards import air, given
from etl.rewards.combine import outcome_gap
from etl.rewards.placing import Ground, find_evaluators, named_places
from etl.rewards.settling import drop_unusable, settle
from etl.rewards.signals.user_reply import Judge
from etl.rewards.sql import RewardQuery, query_rewards
from etl.rewards.turns import rated_turns
from etl.schema import RejectReason
from etl.settings import EtlConfig
from etl.tables import Dataset
from etl.transitions import Signals, reject


def transform(
    spans: pl.DataFrame,
    logs: pl.DataFrame,
    config: EtlConfig,
    *,
    now_us: int | None = None,
    queries: Sequence[RewardQuery] = (),
    decode: Decode | None = None,
    judge_reply: Judge | None = None,
    remembered: Sequence[given.Reward] = (),
    taken: Collection[Trace] = (),
    stored: Stored | None = None,
) -> Dataset:
    """Turn whole traces, in the receiver's columns, into the published tables.

    `queries` add rewards of their own; with `decode` token ids are compared with the text, and `judge_reply`
    is asked what users' replies mean. `stored` finds responses of earlier runs that requests continue.

    `remembered` are rewards that were published before and whose records are gone; `taken` are traces of which
    something is published, so that they wait for nothing.

    `now_us` is the instant idleness is measured against, microseconds since 1970; None takes every trace as it is.
    """
    spans_in = spans.height
    spans, rejected = clean(spans)
    logs = unique_logs(logs)
    forest = build_forest(spans)
    readings = read_all(spans.with_row_index("row"), logs, forest, config.dialects)
    rewards = given.collect(readings, logs, _links(spans)) + query_rewards(queries, spans, logs)
    rewards += remembered
    readings.evaluations |= find_evaluators(rewards, readings, forest)
    calls, wrappers = merge_calls(readings.calls, forest)
    align_item_ids(calls)
    embeddings = unique_embeddings(readings.embeddings, forest)
    agent_rows = name_agents([*calls, *(embedding.call for embedding in embeddings)], readings, forest)
    idle_before_us = None if now_us is None or not config.complete_after else now_us - int(config.complete_after * 1e6)
    grouping = Grouping(spans, forest, readings, calls, idle_before_us=idle_before_us, taken=taken)
    bystanders = find_bystanders(
        calls, spans["name"].to_list(), readings, forest, config.exclude_agents, find_replayed(spans)
    )
    ground = _place(rewards, spans, forest, readings, calls, bystanders, grouping, config)
    episodes, episode_of = ground.episodes, ground.episode_of
    keep = [not episode.is_waiting for episode in episodes]
    complete_tools(readings.tools, calls, readings.facts)
    causes = _attribute(readings, calls, episode_of, agent_rows, forest)
    pairs = [(tool, call) for tool, call, _ in causes]
    complete_arguments(pairs)
    complete_empty_answers(calls)
    complete_from_facts(calls, readings.answers)
    complete_errors(calls)
    complete_histories(calls)
    complete_models(calls)
    complete_answers(calls, pairs)
    note_previous(calls)
    complete_conversations(calls, stored)
    rebuild_histories(calls, stored)
    complete_continuations(calls, pairs)
    complete_offers(calls, pairs)
    judge(calls)
    judge_answers_by_histories(calls)
    judge_instructions(calls)
    judge_losses(calls)
    number_beginnings(calls)
    by_episode: dict[int, list[LlmCall]] = defaultdict(list)
    for call in _in_order(calls):
        by_episode[episode_of[call.span.index]].append(call)
    choosing = [pair for pair in pairs if pair[1] is not None and len(pair[1].output or ()) > 1]
    told = _beginnings(by_episode, episodes)
    for number, own in by_episode.items():
        choose(own, choosing, told.get((episodes[number].key[0], episodes[number].session), ()))
        by_episode[number] = in_order(own)
    judge_by_histories(calls)
    spread_incompleteness(calls)
    retried = attempts(calls, forest)
    if not config.retry and not config.waste:  # else these signals have something to say of them
        used = {call.span.index for _, call in pairs if call is not None}
        retried = retried.union(*(thrown_away(own, used) for own in by_episode.values()))
    drop_impossible(calls)
    apart = _set_apart(calls, bystanders, retried, mismatched(calls, decode))
    outcomes, steps = settle(rewards, ground, apart, config.outcome)
    usable = {number: [call for call in own if call.span.index not in apart] for number, own in by_episode.items()}
    facts = Facts(spans, logs, forest)
    sides = assign_sides(episodes, usable, config, [facts.revision(episode) for episode in episodes])
    assembly = Assembly(config, facts, rejected, apart, decode)
    dialogues = _dialogues(by_episode, episodes)
    measures = air.measure([by_episode[number] for number in sorted(by_episode)], pairs, dialogues, config, judge_reply)
    weights = air.weights(config)
    gap = outcome_gap((outcomes[number] for number, is_kept in enumerate(keep) if is_kept), config)
    for number, episode in enumerate(episodes):
        if keep[number]:
            assembly.add_episode(
                episode,
                by_episode.get(number, []),
                agent_rows,
                Signals(outcomes[number], steps, measures, weights, sides[number], gap),
            )
    assembly.add_embeddings([e for e in embeddings if keep[episode_of[e.call.span.index]]], episodes, episode_of)
    assembly.add_tools([entry for entry in causes if keep[episode_of[entry[0].span.index]]], episodes, episode_of)
    assembly.add_rewards(rewards, episodes, keep)
    tables = assembly.tables()
    counts = count(spans_in, rejected, readings, calls, wrappers, episodes, episode_of, keep, tables)
    pending = {(e.key[0], trace) for e in episodes if e.is_waiting for trace in e.traces}
    waiting = [reward for reward in rewards if reward.episode is not None and not keep[reward.episode]]
    pending |= {(reward.project, reward.trace_id) for reward in waiting if reward.trace_id}
    return Dataset(tables, counts, sorted(pending))


def _links(spans: pl.DataFrame) -> dict[int, str]:
    """Return the links of the spans that have any, as JSON, by row."""
    linked = spans.with_row_index("row").filter(pl.col("links").str.len_bytes() > len("[]")).select("row", "links")
    return dict(linked.iter_rows())


def _place(
    rewards: list[given.Reward],
    spans: pl.DataFrame,
    forest: Forest,
    readings: Readings,
    calls: list[LlmCall],
    bystanders: dict[int, RejectReason],
    grouping: Grouping,
    config: EtlConfig,
) -> Ground:
    """Find what every reward judges, in place, on episodes whose rated turns are apart."""
    agents = [call for call in calls if call.span.index not in bystanders]
    rows = _rows(spans, named_places(rewards))
    starts = spans["start_ns"].to_list()
    num_before = 0
    while True:
        episodes, episode_of = grouping.episodes()
        ground = Ground(forest, episodes, episode_of, agents, readings, rows, config.outcome)
        ground.place(rewards)
        drop_unusable(rewards, config.reward_sources)
        turns = rated_turns(rewards, agents, episodes, episode_of, forest, starts, config.outcome)
        if not turns or len(episodes) <= num_before:  # a division that made no more episodes would be made for ever
            return ground
        num_before = len(episodes)
        grouping.move(turns)


def _rows(spans: pl.DataFrame, named: set[tuple[str, str, str]]) -> dict[tuple[str, str, str], int]:
    """Return the row of every span that is named."""
    ids = ("project", "trace_id", "span_id")
    found = spans.select(*ids).with_row_index("row").filter(pl.col("span_id").is_in([place[2] for place in named]))
    return dict(zip(found.select(*ids).iter_rows(), found["row"].to_list(), strict=True))


def _dialogues(by_episode: Mapping[int, list[LlmCall]], episodes: Sequence[Episode]) -> list[list[LlmCall]]:
    """Return the calls of every session, and of every episode that is in none, in the order they began."""
    found: dict[Hashable, list[LlmCall]] = defaultdict(list)
    for number, calls in by_episode.items():
        session = episodes[number].session
        found[number if session is None else (episodes[number].key[0], session)] += calls
    return [_in_order(calls) for calls in found.values()]


def _beginnings(
    by_episode: Mapping[int, list[LlmCall]], episodes: Sequence[Episode]
) -> dict[tuple[str, str | None], set[Hashable]]:
    """Return what the requests of every session begin with."""
    found: dict[tuple[str, str | None], set[Hashable]] = defaultdict(set)
    for number, calls in by_episode.items():
        episode = episodes[number]
        if episode.session is not None:
            found[episode.key[0], episode.session].update(begun for call in calls for begun in call.beginnings)
    return found


def _set_apart(
    calls: list[LlmCall], bystanders: dict[int, RejectReason], retried: set[int], mismatches: set[int]
) -> dict[int, RejectReason]:
    """Return why calls are no transitions, by row."""
    found: dict[int, RejectReason] = {}
    for call in calls:
        row = call.span.index
        reason = bystanders.get(row) or reject(call, is_retried=row in retried, is_mismatch=row in mismatches)
        if reason is not None:
            found[row] = reason
    return found


def _attribute(
    readings: Readings, calls: list[LlmCall], episode_of: list[int], agent_rows: dict[int, int], forest: Forest
) -> list[tuple[ToolCall, LlmCall | None, Rule | None]]:
    tools = unique_tools(readings.tools, forest, set(readings.agents) | {call.span.index for call in calls})
    named = Surroundings(forest, {row for row, agent in readings.agents.items() if agent.name})
    index = Causes(calls, episode_of, agent_rows, forest)
    found = []
    for tool in tools:
        call, rule = index.find(tool, named.nearest(tool.span.index))
        found.append((tool, call, rule))
    asked = [(tool, call if rule == Rule.ID else None) for tool, call, rule in found]
    untraced = find_untraced(_in_order(calls), asked, episode_of)
    return found + [(tool, call, Rule.MESSAGE) for tool, call in untraced]


def _in_order(calls: list[LlmCall]) -> list[LlmCall]:
    """Return calls in the order they began."""
    return sorted(calls, key=lambda call: (call.span.start_ns, call.span.span_id))
