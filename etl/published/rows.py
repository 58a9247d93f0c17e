"""What is published of episodes and calls, to find those that new spans and rewards belong to."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import orjson
import polars as pl

from etl.dialects.spans import LlmCall, Span
from etl.episodes.grouping import Trace
from etl.published.index import CONVERSATION, EPISODE, JUDGED, NAME, PREVIOUS, RESPONSE, SESSION, TRACE, Index
from etl.rewards import stand_ins
from etl.schema import TABLES, RejectReason
from etl.tables import IS_TAKEN, Dataset, scan

KEY = ("project", "trace_id")

IS_STAND_IN = pl.any_horizontal(pl.col("trace_id").str.starts_with(prefix) for prefix in stand_ins.PREFIXES)
"""A reward's trace only stands in for one."""


class Published:
    """The published episodes, answers and rewards, as they were when this was made, read by what they are known by."""

    def __init__(self, data: Path) -> None:
        self._index = Index(data)

    def _scan(self, table: str, kind: str, keys: Collection[tuple[str, str]]) -> pl.LazyFrame:
        """Return the rows of the parts that may have any with these (project, value) pairs."""
        return scan(table, self._index.files(table, kind, keys))

    def _episodes(self, kind: str, keys: Collection[tuple[str, str]]) -> pl.DataFrame:
        """Return what is published of these traces, or of episodes or sessions of these names; a row a trace."""
        columns = ("project", "episode_id", "session_id", "num_spans", "first_seq")
        rows = self._scan("episodes", kind, keys).select(*columns, trace_id="trace_ids").explode("trace_id")
        column = {TRACE: "trace_id", EPISODE: "episode_id", SESSION: "session_id"}[kind]
        return rows.join(_frame(keys, column).lazy(), on=["project", column], how="semi").collect()

    def _judging(self, kind: str, keys: Collection[tuple[str, str]]) -> pl.DataFrame:
        """Return where rewards were given that stand apart from what they judge, and what that is."""
        column = {TRACE: "trace_id", JUDGED: "judged_trace_id", EPISODE: "episode_id"}[kind]
        return (
            self._scan("rewards", kind, keys)
            .filter(IS_STAND_IN | pl.col("judged_trace_id").is_not_null())
            .select("project", "trace_id", "episode_id", "judged_trace_id")
            .join(_frame(keys, column).lazy(), on=["project", column], how="semi")
            .unique()
            .collect()
        )

    def _calls(self, kind: str, keys: Collection[tuple[str, str]]) -> pl.DataFrame:
        """Return the calls that gave these answers, or that continue them."""
        column = {RESPONSE: "response_id", PREVIOUS: "previous_response_id"}[kind]
        rows = self._scan("llm_calls", kind, keys).select("project", "trace_id", "span_id", "episode_id", column)
        return rows.join(_frame(keys, column).lazy(), on=["project", column], how="semi").collect()

    def responses(self, wanted: Collection[tuple[str, str]]) -> dict[tuple[str, str], list[dict[str, Any]]]:
        """Return what was shown and answered, as messages, of responses that are published as transitions."""
        calls = self._calls(RESPONSE, wanted)
        if calls.is_empty():
            return {}
        span = ["project", "trace_id", "span_id"]
        rows = (
            self._scan("transitions", TRACE, set(calls.select(KEY).iter_rows()))
            .select(*span, "observation", "media", "action", "stop_reason")
            .join(calls.lazy().select(*span, "response_id"), on=span)
            .filter(IS_TAKEN, pl.col("observation").is_not_null() & pl.col("action").is_not_null())
            .collect()
        )
        found: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for row in rows.iter_rows(named=True):
            answer = orjson.loads(row["action"])
            text = answer["text"] if answer["text"] is not None else answer["refusal"]
            said = {"role": "assistant", "text": text}
            said |= {"tool_calls": answer["tool_calls"]} if answer["tool_calls"] else {}
            found[row["project"], row["response_id"]] = [*_with_parts(row["observation"], row["media"]), said]
        return found

    def conversations(self, wanted: Collection[tuple[str, str]]) -> dict[tuple[str, str], list[LlmCall]]:
        """Return the calls of these conversations as they began; one that is no transition is incomplete."""
        calls = (
            self._scan("llm_calls", CONVERSATION, wanted)
            .join(_frame(wanted, "conversation_id").lazy(), on=["project", "conversation_id"], how="semi")
            .collect()
        )
        if calls.is_empty():
            return {}
        span = ["project", "trace_id", "span_id"]
        used = self._scan("transitions", TRACE, set(calls.select(KEY).iter_rows())).filter(IS_TAKEN)
        offered = {tuple(key): tools for *key, tools in used.select(*span, "tools").collect().iter_rows()}
        found: dict[tuple[str, str], list[LlmCall]] = {}
        for row in calls.sort("start_ns", "span_id").iter_rows(named=True):
            key = (row["project"], row["trace_id"], row["span_id"])
            call = call_of({**row, "tools": offered.get(key)})  # a call's own may be put together of what it called
            if key not in offered:
                call.incomplete.add(RejectReason.HISTORY_ELSEWHERE)
            found.setdefault((row["project"], row["conversation_id"]), []).append(call)
        return found

    def taken(self, traces: Collection[Trace]) -> set[Trace]:
        """Return those of these traces that a published episode is of."""
        return set(self._episodes(TRACE, traces).select(KEY).iter_rows())

    def outlived(self, traces: Collection[Trace], spans: pl.DataFrame) -> set[Trace]:
        """Return the traces of published episodes whose spans are gone, some of them or all, given those that are left.

        The oldest go first: an episode is whole as long as the first request that told of it is still there.
        """
        left = spans.group_by(KEY).agg(
            left=pl.struct("trace_id", "span_id").n_unique(), since=pl.col("received_seq").min()
        )
        own = self._episodes(TRACE, traces).join(left, on=KEY, how="left")
        lost = (
            own.group_by("project", "episode_id", "first_seq", "num_spans")
            .agg(pl.col("left").sum(), pl.col("since").min())
            .filter(
                pl.col("since").is_null()
                | (pl.col("since") > pl.col("first_seq")).fill_null(value=False)
                | (pl.col("left") < pl.col("num_spans"))
            )
        )
        found = lost.select("project", "episode_id")
        while True:  # an episode that shares a trace with one that is gone stays as well
            gone = own.join(found, on=["project", "episode_id"], how="semi").select(KEY).unique()
            more = own.join(gone, on=KEY, how="semi").select("project", "episode_id").unique()
            if more.height <= found.height:
                return set(gone.iter_rows())
            found = more

    def rows(self, traces: Collection[Trace]) -> dict[str, pl.DataFrame]:
        """Return the published rows of traces, with all rewards of their episodes, by table."""
        named = _frame(traces).lazy()
        tables = {name: self._scan(name, TRACE, traces) for name in TABLES}
        first = pl.col("trace_ids").list.first().alias("trace_id")
        episodes = tables["episodes"].with_columns(first).join(named, on=KEY, how="semi").drop("trace_id").collect()
        found = {name: rows.join(named, on=KEY, how="semi") for name, rows in tables.items() if name != "episodes"}
        own = set(episodes.select("project", "episode_id").iter_rows())
        judging = self._scan("rewards", EPISODE, own)
        judging = judging.join(_frame(own, "episode_id").lazy(), on=["project", "episode_id"], how="semi")
        found["rewards"] = pl.concat([found["rewards"], judging]).unique(maintain_order=True)
        return {"episodes": episodes, **{name: rows.collect() for name, rows in found.items()}}

    def given_before(self, traces: Collection[Trace]) -> pl.DataFrame:
        """Return the published rewards of these traces that came as records, which are kept apart from the spans."""
        rewards = self._scan("rewards", TRACE, traces).filter(pl.col("source") == "log_record")
        return rewards.join(_frame(traces).lazy(), on=KEY, how="semi").collect()

    def standing(self, named: Collection[Trace]) -> set[Trace]:
        """Return those of these stand-ins that published rewards are in."""
        rows = self._scan("rewards", TRACE, named).filter(IS_STAND_IN).select(KEY)
        return set(rows.join(_frame(named).lazy(), on=KEY, how="semi").collect().iter_rows())

    def judging(self, named: Collection[Trace]) -> set[Trace]:
        """Return the traces whose rewards name what these are stand-ins of, and found nothing so far."""
        rows = self._scan("rewards", NAME, named)
        lost = rows.filter(pl.col("episode_id").is_null() & pl.col("names").is_not_null())
        return {
            (project, trace_id)
            for project, trace_id, names in lost.select(*KEY, "names").unique().collect().iter_rows()
            if any((project, f"{kind}:{name}") in named for kind, name in orjson.loads(names).items())
        }

    def with_their_episodes(self, traces: set[Trace]) -> set[Trace]:
        """Return the traces and all others of the published episodes they are in, or judge something of."""
        judged = self._judging(TRACE, traces).drop_nulls("judged_trace_id")
        judging = self._judging(JUDGED, traces)
        with_judged = traces | set(judged.select("project", "judged_trace_id").iter_rows())
        own = self._episodes(TRACE, with_judged).select("project", "episode_id")
        standing = [trace for trace in traces if stand_ins.is_stand_in(trace)]
        episodes = pl.concat([own, *(self._named(trace) for trace in standing)])
        return traces | set(judging.select(KEY).iter_rows()) | self._of(episodes)

    def _named(self, trace: Trace) -> pl.DataFrame:
        """Return the episodes that a stand-in's rewards judge something of."""
        prefix, name = trace[1].split(":", 1)
        return self._with_id(trace[0], prefix, name)

    def _with_id(self, project: str, kind: str, name: str) -> pl.DataFrame:
        named = [(project, name)]
        if kind == "response":
            return self._calls(RESPONSE, named).select("project", "episode_id")
        return pl.concat([self._episodes(k, named).select("project", "episode_id") for k in (EPISODE, SESSION, TRACE)])

    def episodes_of(self, traces: set[Trace]) -> list[list[Trace]]:
        """Return the published episodes of several traces that any of these are in."""
        own = self._episodes(TRACE, traces).select("project", "episode_id").unique()
        members = self._episodes(EPISODE, set(own.iter_rows()))
        rows = members.group_by("project", "episode_id").agg("trace_id").filter(pl.col("trace_id").list.len() > 1)
        return [[(project, trace) for trace in traces] for project, _, traces in rows.iter_rows()]

    def related(self, dataset: Dataset) -> set[Trace]:
        """Return the published traces that a dataset shares an episode, a session or an answer with, or judges."""
        by_episode, by_session = (_values(dataset, "episodes", column) for column in ("episode_id", "session_id"))
        answers = _values(dataset, "llm_calls", "response_id")
        found = [
            rows.select("project", "episode_id")
            for rows in (
                self._episodes(EPISODE, by_episode),
                self._episodes(SESSION, by_session),
                self._calls(RESPONSE, answers),
                self._calls(PREVIOUS, answers),
            )
        ]
        return self._of(pl.concat([*found, *self._judged(dataset)]))

    def _judged(self, dataset: Dataset) -> list[pl.DataFrame]:
        """Return the episodes that a dataset's rewards name which found nothing there to judge."""
        lost = dataset.tables["rewards"].filter(pl.col("episode_id").is_null() & pl.col("names").is_not_null())
        return [
            self._with_id(project, kind, name)
            for project, names in lost.select("project", "names").unique().iter_rows()
            for kind, name in orjson.loads(names).items()
        ]

    def _of(self, episodes: pl.DataFrame) -> set[Trace]:
        """Return the traces of episodes, and those whose rewards judge them."""
        named = set(episodes.drop_nulls().iter_rows())
        found = (self._episodes(EPISODE, named), self._judging(EPISODE, named))
        return {trace for rows in found for trace in rows.select(KEY).iter_rows()}


def call_of(row: dict[str, Any], index: int = -1) -> LlmCall:
    """Return a published call as it was read; its span has no attributes any more."""
    span = Span(
        index, row["project"], row["trace_id"], row["span_id"], None, "", row["start_ns"], row["end_ns"],
        None, None, row["scope_name"] or "", None, {},
    )  # fmt: skip
    call = LlmCall(span, row["dialect"], agent=row["agent"], response_id=row["response_id"], choice=row["choice"] or 0)
    call.tools, call.output, call.usage = (
        orjson.loads(row[name]) if row[name] else None for name in ("tools", "output", "usage")
    )
    call.input = _with_parts(row["input"], row["media"]) if row["input"] else None
    return call


def _with_parts(messages: str, media: str | None) -> list[dict[str, Any]]:
    """Return published messages with the parts of those that have media, as they were read."""
    found: list[dict[str, Any]] = orjson.loads(messages)
    for entry in orjson.loads(media) if media else ():
        found[entry["message"]] = {**found[entry["message"]], "parts": entry["parts"]}
    return found


def _values(dataset: Dataset, table: str, column: str) -> set[tuple[str, str]]:
    return set(dataset.tables[table].select("project", column).drop_nulls().iter_rows())


def _frame(keys: Collection[tuple[str, str]], column: str = "trace_id") -> pl.DataFrame:
    return pl.DataFrame(sorted(keys), schema={"project": pl.String, column: pl.String}, orient="row")
