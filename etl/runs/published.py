"""What is published of episodes and calls, to find those that new spans and rewards belong to."""

from collections import defaultdict
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import orjson
import polars as pl

from etl.episodes.grouping import Trace
from etl.rewards import stand_ins
from etl.schema import TABLES, table_files
from etl.tables import Dataset, scan

KEY = ("project", "trace_id")


class Published:
    """The published episodes, response ids and rewards given from elsewhere, as they were when this was made."""

    def __init__(self, data: Path) -> None:
        self._data = data
        columns = ("project", "episode_id", "session_id", "num_spans", "first_seq")
        episodes = scan("episodes", table_files(data, "episodes"))
        self._traces = episodes.select(*columns, trace_id="trace_ids").explode("trace_id").collect()
        rewards = scan("rewards", table_files(data, "rewards"))
        is_stand_in = pl.any_horizontal(pl.col("trace_id").str.starts_with(p) for p in stand_ins.PREFIXES)
        self._judging = (
            rewards.filter(is_stand_in | pl.col("judged_trace_id").is_not_null())
            .select("project", "trace_id", "episode_id", "judged_trace_id", is_stand_in=is_stand_in)
            .unique()
            .collect()
        )
        unplaced = rewards.filter(pl.col("episode_id").is_null() & pl.col("names").is_not_null())
        self._unplaced: dict[Trace, set[Trace]] = defaultdict(set)
        for project, trace_id, names in unplaced.select(*KEY, "names").unique().collect().iter_rows():
            for kind, name in orjson.loads(names).items():
                self._unplaced[project, f"{kind}:{name}"].add((project, trace_id))
        self._responses = (
            scan("llm_calls", table_files(data, "llm_calls"))
            .filter(pl.col("response_id").is_not_null())
            .select("project", "episode_id", "response_id")
            .collect()
        )
        self._continuing = (
            scan("llm_calls", table_files(data, "llm_calls"))
            .filter(pl.col("previous_response_id").is_not_null())
            .select("project", "episode_id", response_id="previous_response_id")
            .collect()
        )
        self._data = data

    def responses(self, wanted: Collection[tuple[str, str]]) -> dict[tuple[str, str], list[dict[str, Any]]]:
        """Return what was shown and answered, as messages, of responses that are published as transitions."""
        keys = pl.DataFrame(sorted(wanted), schema={"project": pl.String, "response_id": pl.String}, orient="row")
        known = self._responses.join(keys, on=["project", "response_id"], how="semi")
        if known.is_empty():
            return {}
        span = ["project", "trace_id", "span_id"]
        calls = scan("llm_calls", table_files(self._data, "llm_calls")).select(*span, "response_id")
        rows = (
            scan("transitions", table_files(self._data, "transitions"))
            .select(*span, "observation", "action")
            .join(calls.join(keys.lazy(), on=["project", "response_id"], how="semi"), on=span)
            .filter(pl.col("observation").is_not_null() & pl.col("action").is_not_null())
            .collect()
        )
        found: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for row in rows.iter_rows(named=True):
            answer = orjson.loads(row["action"])
            text = answer["text"] if answer["text"] is not None else answer["refusal"]
            said = {"role": "assistant", "text": text}
            said |= {"tool_calls": answer["tool_calls"]} if answer["tool_calls"] else {}
            found[row["project"], row["response_id"]] = [*orjson.loads(row["observation"]), said]
        return found

    def taken(self, traces: Collection[Trace]) -> set[Trace]:
        """Return those of these traces that a published episode is of."""
        return set(self._traces.join(_frame(traces), on=KEY, how="semi").select(KEY).iter_rows())

    def outlived(self, traces: Collection[Trace], spans: pl.DataFrame) -> set[Trace]:
        """Return the traces of published episodes whose spans are gone, some of them or all, given those that are left.

        The oldest go first: an episode is whole as long as the first request that told of it is still there.
        """
        left = spans.group_by(KEY).agg(
            left=pl.struct("trace_id", "span_id").n_unique(), since=pl.col("received_seq").min()
        )
        own = self._traces.join(_frame(traces), on=KEY, how="semi").join(left, on=KEY, how="left")
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
        tables = {name: scan(name, table_files(self._data, name)) for name in TABLES}
        first = pl.col("trace_ids").list.first().alias("trace_id")
        episodes = tables["episodes"].with_columns(first).join(named, on=KEY, how="semi").drop("trace_id").collect()
        found = {name: rows.join(named, on=KEY, how="semi") for name, rows in tables.items() if name != "episodes"}
        judging = tables["rewards"].join(episodes.lazy(), on=["project", "episode_id"], how="semi")
        found["rewards"] = pl.concat([found["rewards"], judging]).unique(maintain_order=True)
        return {"episodes": episodes, **{name: rows.collect() for name, rows in found.items()}}

    def given_before(self, traces: Collection[Trace]) -> pl.DataFrame:
        """Return the published rewards of these traces that came as records, which are kept apart from the spans."""
        rewards = scan("rewards", table_files(self._data, "rewards")).filter(pl.col("source") == "log_record")
        return rewards.join(_frame(traces).lazy(), on=KEY, how="semi").collect()

    @property
    def stand_ins(self) -> set[Trace]:
        """Return the stand-ins of traces that published rewards are in."""
        return set(self._judging.filter("is_stand_in").select(KEY).iter_rows())

    def judging(self, stand_ins: Iterable[Trace]) -> set[Trace]:
        """Return the traces whose rewards name what these are stand-ins of, and found nothing so far."""
        return set().union(*(self._unplaced[key] for key in stand_ins if key in self._unplaced))

    def with_their_episodes(self, traces: set[Trace]) -> set[Trace]:
        """Return the traces and all others of the published episodes they are in, or judge something of."""
        named = _frame(traces)
        judged = self._judging.join(named, on=KEY, how="semi").drop_nulls("judged_trace_id")
        judging = self._judging.join(named, left_on=("project", "judged_trace_id"), right_on=KEY, how="semi")
        pairs = judged.select("project", trace_id="judged_trace_id")
        own = self._traces.join(pl.concat([named, pairs]), on=KEY, how="semi").select("project", "episode_id")
        standing = [trace for trace in traces if stand_ins.is_stand_in(trace)]
        episodes = pl.concat([own, *(self._named(trace) for trace in standing)])
        return traces | set(judging.select(KEY).iter_rows()) | self._of(episodes)

    def _named(self, trace: Trace) -> pl.DataFrame:
        """Return the episodes that a stand-in's rewards judge something of."""
        prefix, name = trace[1].split(":", 1)
        return self._with_id(trace[0], prefix, name)

    def _with_id(self, project: str, kind: str, name: str) -> pl.DataFrame:
        is_own = pl.col("project") == project
        if kind == "response":
            return self._responses.filter(is_own & (pl.col("response_id") == name)).select("project", "episode_id")
        column = pl.any_horizontal(pl.col(c) == name for c in ("episode_id", "session_id", "trace_id"))
        return self._traces.filter(is_own & column).select("project", "episode_id")

    def episodes_of(self, traces: set[Trace]) -> list[list[Trace]]:
        """Return the published episodes of several traces that any of these are in."""
        rows = self._traces.group_by("project", "episode_id").agg("trace_id").filter(pl.col("trace_id").list.len() > 1)
        named = ([(project, trace) for trace in members] for project, _, members in rows.iter_rows())
        return [episode for episode in named if not traces.isdisjoint(episode)]

    def related(self, dataset: Dataset) -> set[Trace]:
        """Return the published traces that a dataset shares an episode, a session or an answer with, or judges."""
        episodes = dataset.tables["episodes"]
        by_id = self._traces.join(episodes, on=["project", "episode_id"], how="semi")
        by_session = self._traces.join(episodes, on=["project", "session_id"], how="semi")
        calls = dataset.tables["llm_calls"].filter(pl.col("response_id").is_not_null())
        by_response = self._responses.join(calls, on=["project", "response_id"], how="semi")
        continuing = self._continuing.join(calls, on=["project", "response_id"], how="semi")
        found = [rows.select("project", "episode_id") for rows in (by_id, by_session, by_response, continuing)]
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
        found: set[Trace] = set()
        for table in (self._traces, self._judging):
            members = table.join(episodes, on=["project", "episode_id"], how="semi")
            found.update(members.select(KEY).iter_rows())
        return found


def _frame(traces: Collection[Trace]) -> pl.DataFrame:
    return pl.DataFrame(sorted(traces), schema={"project": pl.String, "trace_id": pl.String}, orient="row")
