"""What is published of episodes and calls, to find those that new spans and rewards belong to."""

from pathlib import Path

import orjson
import polars as pl

from etl.episodes.grouping import Trace
from etl.rewards import stand_ins
from etl.schema import table_files
from etl.tables import Dataset, scan

KEY = ("project", "trace_id")


class Published:
    """The published episodes, response ids and rewards given from elsewhere, as they were when this was made."""

    def __init__(self, data: Path) -> None:
        episodes = scan("episodes", table_files(data, "episodes"))
        self._traces = (
            episodes.select("project", "episode_id", "session_id", trace_id="trace_ids").explode("trace_id").collect()
        )
        rewards = scan("rewards", table_files(data, "rewards"))
        is_stand_in = pl.any_horizontal(pl.col("trace_id").str.starts_with(p) for p in stand_ins.PREFIXES)
        self._judging = (
            rewards.filter(is_stand_in | pl.col("judged_trace_id").is_not_null())
            .select("project", "trace_id", "episode_id", "judged_trace_id", is_stand_in=is_stand_in)
            .unique()
            .collect()
        )
        self._responses = (
            scan("llm_calls", table_files(data, "llm_calls"))
            .filter(pl.col("response_id").is_not_null())
            .select("project", "episode_id", "response_id")
            .collect()
        )

    @property
    def stand_ins(self) -> set[Trace]:
        """Return the stand-ins of traces that published rewards are in."""
        return set(self._judging.filter("is_stand_in").select(KEY).iter_rows())

    def with_their_episodes(self, traces: set[Trace]) -> set[Trace]:
        """Return the traces and all others of the published episodes they are in, or judge something of."""
        named = pl.DataFrame(sorted(traces), schema={"project": pl.String, "trace_id": pl.String}, orient="row")
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
        found = [rows.select("project", "episode_id") for rows in (by_id, by_session, by_response)]
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
