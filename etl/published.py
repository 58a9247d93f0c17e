"""What is published of episodes and calls, to find those that new spans belong to."""

from pathlib import Path

import polars as pl

from etl.episodes import Trace
from etl.schema import TABLES, table_files
from etl.tables import Dataset, polars_schema


class Published:
    """The published episodes and response ids, as they were when this was made."""

    def __init__(self, data: Path) -> None:
        episodes = _scan(data, "episodes")
        self._traces = episodes.select("project", "episode_id", trace_id="trace_ids").explode("trace_id").collect()
        self._responses = (
            _scan(data, "llm_calls")
            .filter(pl.col("response_id").is_not_null())
            .select("project", "episode_id", "response_id")
            .collect()
        )

    def with_their_episodes(self, traces: set[Trace]) -> set[Trace]:
        """Return the traces and all others of the published episodes they are in."""
        if self._traces.is_empty():
            return set(traces)
        named = pl.DataFrame(sorted(traces), schema={"project": pl.String, "trace_id": pl.String}, orient="row")
        episodes = self._traces.join(named, on=["project", "trace_id"], how="semi")
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
        found = self._traces.join(episodes, on=["project", "episode_id"], how="semi").select("project", "trace_id")
        return set(found.iter_rows())


def _scan(data: Path, table: str) -> pl.LazyFrame:
    files = table_files(data, table)
    return pl.scan_parquet(files) if files else pl.LazyFrame(schema=polars_schema(TABLES[table]))
