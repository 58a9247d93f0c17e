"""One run: find what is new, read its traces whole, transform, publish, report."""

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from etl.episodes import Trace
from etl.publish import load_watermark, publish, sweep
from etl.schema import TABLES, table_files
from etl.settings import EtlConfig
from etl.source import Window, find_window, read_traces, touched_traces
from etl.tables import Dataset, polars_schema
from etl.transform import transform
from foundation.errors import ExitStatus
from foundation.files import exclusive
from foundation.narration import get_logger
from foundation.report import RunReport
from receiver.schema import Reader, connect

log = get_logger("etl")


def run_etl(
    config: EtlConfig, report: RunReport, *, dry_run: bool, now_us: Callable[[], int] = lambda: time.time_ns() // 1000
) -> None:
    """Process what arrived since the last finished run, or in the window the settings name."""
    with exclusive(config.data / "dataset" / "lock", purpose="spanloop etl run"):
        if not dry_run:
            sweep(config.data)
        reader = connect(config.data)
        try:
            _run(config, report, reader, now_us(), dry_run=dry_run)
        finally:
            reader.close()
        if not dry_run:
            report.write(config.data / "dataset" / "runs" / f"{report.run_id}.json", ExitStatus.DONE)


def _run(config: EtlConfig, report: RunReport, reader: Reader, now_us: int, *, dry_run: bool) -> None:
    watermark = load_watermark(config.data)
    processed: int = watermark["received_seq"]
    pending = {(project, trace_id) for project, trace_id in watermark["pending"]}
    with report.phase("read") as phase:
        found = find_window(reader, after_seq=processed, since=config.since, until=config.until)
        window = found or Window(processed, processed)
        touched = (touched_traces(reader, window) if found is not None else set()) | pending
        traces, spans, logs, dataset = _read_and_transform(config, reader, touched, now_us)
        phase.update(window=window.name, traces=len(traces), spans=spans.height, log_records=logs.height)
    report.update(window={"since_seq": window.since_seq, "until_seq": window.until_seq}, **dataset.counts)
    report.update(num_rows={table: rows.height for table, rows in dataset.tables.items()})
    _narrate(dataset, window, is_new=found is not None)
    is_contiguous = window.since_seq <= processed + 1
    received_seq = max(processed, window.until_seq) if is_contiguous else processed
    has_rows = any(rows.height for rows in dataset.tables.values())
    if dry_run or (found is None and not has_rows):
        report.update(published=False, watermark=processed)
        return
    with report.phase("publish"):
        if not is_contiguous:
            dataset.pending = sorted({*dataset.pending, *(pending - traces)})
        publish(config.data, window, traces, dataset, received_seq)
    report.update(published=True, watermark=received_seq)


def _read_and_transform(
    config: EtlConfig, reader: Reader, touched: set[Trace], now_us: int
) -> tuple[set[Trace], pl.DataFrame, pl.DataFrame, Dataset]:
    """Read and transform the touched traces, and every published one that now belongs to an episode of theirs."""
    published = _Published(config.data)
    traces = published.with_their_episodes(touched)
    while True:
        spans, logs = read_traces(reader, traces)
        with _no_cycle_collection():
            dataset = transform(spans, logs, config, now_us=now_us)
        joined = published.with_their_episodes(traces | published.related(dataset))
        if joined == traces:
            return traces, spans, logs, dataset
        traces = joined


@contextmanager
def _no_cycle_collection() -> Iterator[None]:
    """Keep Python from searching millions of fresh messages for cycles they do not have: a third of the time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class _Published:
    """What is published of episodes and calls, to find those that new spans belong to."""

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
        named = pl.DataFrame(sorted(traces), schema={"project": pl.String, "trace_id": pl.String}, orient="row")
        episodes = self._traces.join(named, on=["project", "trace_id"], how="semi")
        return traces | self._of(episodes)

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


def _narrate(dataset: Dataset, window: Window, *, is_new: bool) -> None:
    spans = dataset.counts["spans"]
    log.info(
        "transformed" if is_new or spans["in"] else "nothing new",
        window=window.name,
        spans=spans["in"],
        episodes=dataset.counts["episodes"],
        waiting=dataset.counts["episodes_waiting"],
        calls=dataset.counts["calls"]["in"],
        transitions=dataset.counts["calls"]["transitions"],
    )
    for scope, number in dataset.counts["unread_scopes"].items():
        log.warning("spans that look like model traffic, in no known dialect", scope=scope, spans=number)
