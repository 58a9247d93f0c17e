"""What is published of episodes and calls, to find those that new spans belong to."""

from pathlib import Path

import polars as pl

from etl.episodes.grouping import Trace
from etl.rewards.stand_ins import PREFIX
from etl.schema import table_files
from etl.tables import Dataset, scan


class Published:
    """The published episodes, response ids and rewards by response id, as they were when this was made."""

    def __init__(self, data: Path) -> None:
        episodes = scan("episodes", table_files(data, "episodes"))
        self._traces = episodes.select("project", "episode_id", trace_id="trace_ids").explode("trace_id").collect()
        rewards = scan("rewards", table_files(data, "rewards")).select("project", "trace_id", "episode_id")
        self._judging = rewards.filter(pl.col("trace_id").str.starts_with(PREFIX)).unique().collect()
        self._responses = (
            scan("llm_calls", table_files(data, "llm_calls"))
            .filter(pl.col("response_id").is_not_null())
            .select("project", "episode_id", "response_id")
            .collect()
        )

    @property
    def stand_ins(self) -> set[Trace]:
        """Return the stand-ins of traces that published rewards are in."""
        return set(self._judging.select("project", "trace_id").iter_rows())

    def with_their_episodes(self, traces: set[Trace]) -> set[Trace]:
        """Return the traces and all others of the published episodes they are in, or judge a call of."""
        if self._traces.is_empty():
            return set(traces)
        named = pl.DataFrame(sorted(traces), schema={"project": pl.String, "trace_id": pl.String}, orient="row")
        answers = named.with_columns(response_id=pl.col("trace_id").str.strip_prefix(PREFIX))
        own = self._traces.join(named, on=["project", "trace_id"], how="semi")
        judged = self._responses.join(answers, on=["project", "response_id"], how="semi")
        episodes = pl.concat([own.select("project", "episode_id"), judged.select("project", "episode_id")])
        return traces | self._of(episodes)

    def episodes_of(self, traces: set[Trace]) -> list[list[Trace]]:
        """Return the published episodes of several traces that any of these are in."""
        rows = self._traces.group_by("project", "episode_id").agg("trace_id").filter(pl.col("trace_id").list.len() > 1)
        named = ([(project, trace) for trace in members] for project, _, members in rows.iter_rows())
        return [episode for episode in named if not traces.isdisjoint(episode)]

    def related(self, dataset: Dataset) -> set[Trace]:
        """Return the published traces that share an episode id or a response id with a dataset."""
        by_id = self._traces.join(dataset.tables["episodes"], on=["project", "episode_id"], how="semi")
        calls = dataset.tables["llm_calls"].filter(pl.col("response_id").is_not_null())
        by_response = self._responses.join(calls, on=["project", "response_id"], how="semi")
        return self._of(by_id) | self._of(by_response)

    def _of(self, episodes: pl.DataFrame) -> set[Trace]:
        """Return the traces of episodes, and the stand-ins of those that judge them."""
        found: set[Trace] = set()
        for table in (self._traces, self._judging):
            members = table.join(episodes, on=["project", "episode_id"], how="semi")
            found.update(members.select("project", "trace_id").iter_rows())
        return found
