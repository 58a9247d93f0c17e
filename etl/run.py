"""One run: find what is new, read its traces whole, transform, publish, report."""

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl

from etl.buckets import Bucket, divide
from etl.episodes import Trace
from etl.publish import Files, load_watermark, publish, sweep, write_part
from etl.rewards.sql import read_queries
from etl.schema import TABLES, table_files
from etl.settings import EtlConfig
from etl.source import Window, find_window, read_traces, touched_traces, trace_facts, with_links
from etl.tables import Dataset, polars_schema
from etl.tokens import load_decoder
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
    with report.phase("find") as phase:
        found = find_window(reader, after_seq=processed, since=config.since, until=config.until)
        window = found or Window(processed, processed)
        touched = (touched_traces(reader, window) if found is not None else set()) | pending
        published = _Published(config.data)
        traces = published.with_their_episodes(touched)
        buckets = _divide(config, reader, traces, published)
        phase.update(window=window.name, traces=len(traces), buckets=len(buckets))
    with report.phase("transform"):
        work = _Work(config, reader, window, published, now_us, is_dry=dry_run)
        if not work.process(buckets):
            log.warning("buckets share an episode or a call: all in one", traces=len(traces))
            work = _Work(config, reader, window, published, now_us, is_dry=dry_run)
            work.process([Bucket(traces | work.traces)])
    report.update(window={"since_seq": window.since_seq, "until_seq": window.until_seq}, **work.counts)
    report.update(num_rows=work.num_rows)
    _narrate(work.counts, window, is_new=found is not None)
    is_contiguous = window.since_seq <= processed + 1
    received_seq = max(processed, window.until_seq) if is_contiguous else processed
    has_rows = any(work.num_rows.values())
    if dry_run or (found is None and not has_rows):
        report.update(published=False, watermark=processed)
        return
    with report.phase("publish"):
        waiting = set(work.pending)
        if not is_contiguous:
            waiting |= pending - work.traces
        publish(config.data, window, work.traces, work.parts, waiting, received_seq)
    report.update(published=True, watermark=received_seq)


def _divide(config: EtlConfig, reader: Reader, traces: set[Trace], published: "_Published") -> list[Bucket]:
    facts = trace_facts(reader, traces)
    if sum(fact.num_spans for fact in facts) <= config.bucket_spans:
        return [Bucket(traces)]
    buckets = divide(with_links(reader, facts), published.episodes_of(traces), max_spans=config.bucket_spans)
    buckets[-1].traces |= traces - {fact.trace for fact in facts}  # log records of traces without spans
    return buckets


class _Work:
    """Reads, transforms and writes bucket after bucket; what stays in memory is counts and names of files."""

    def __init__(
        self, config: EtlConfig, reader: Reader, window: Window, published: "_Published", now_us: int, *, is_dry: bool
    ) -> None:
        self._config = config
        self._reader = reader
        self._window = window
        self._published = published
        self._now_us = now_us
        self._is_dry = is_dry
        self._queries = read_queries(config.reward_sql)
        self._decode = load_decoder(config.tokenizer)
        self.traces: set[Trace] = set()
        self.parts: list[Files] = []
        self.pending: list[Trace] = []
        self.counts: dict[str, Any] = {}
        self.num_rows = dict.fromkeys(TABLES, 0)

    def process(self, buckets: list[Bucket]) -> bool:
        """Process the buckets; False when one turns out to need the traces of another: all is to be done at once."""
        for number, bucket in enumerate(buckets):
            own, dataset = self._transform(bucket)
            others = {trace for other in buckets[number + 1 :] for trace in other.traces} | self.traces
            self.traces |= own
            if own & others:
                self.traces |= others
                return False
            self.counts = add_counts(self.counts, dataset.counts)
            self.pending += dataset.pending
            for table, rows in dataset.tables.items():
                self.num_rows[table] += rows.height
            if not self._is_dry:
                self.parts.append(write_part(self._config.data, self._window, dataset))
        return True

    def _transform(self, bucket: Bucket) -> tuple[set[Trace], Dataset]:
        """Transform a bucket, and every published trace that turns out to belong to an episode of it."""
        traces = bucket.traces
        received = (bucket.first_seq, bucket.last_seq) if bucket.num_spans else None
        while True:
            spans, logs = read_traces(self._reader, traces, received=received)
            with _no_cycle_collection():
                dataset = transform(
                    spans, logs, self._config, now_us=self._now_us, queries=self._queries, decode=self._decode
                )
            joined = self._published.with_their_episodes(traces | self._published.related(dataset))
            if joined == traces:
                return traces, dataset
            traces, received = joined, None


def add_counts(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Add up two reports' counts, key by key.

    >>> add_counts({"in": 1, "used": {"a": 1}}, {"in": 2, "used": {"b": 3}})
    {'in': 3, 'used': {'a': 1, 'b': 3}}
    """
    total = dict(one)
    for key, value in other.items():
        total[key] = add_counts(total.get(key, {}), value) if isinstance(value, dict) else total.get(key, 0) + value
    return total


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


def _narrate(counts: dict[str, Any], window: Window, *, is_new: bool) -> None:
    spans = counts["spans"]
    log.info(
        "transformed" if is_new or spans["in"] else "nothing new",
        window=window.name,
        spans=spans["in"],
        episodes=counts["episodes"],
        waiting=counts["episodes_waiting"],
        calls=counts["calls"]["in"],
        transitions=counts["calls"]["transitions"],
    )
    for scope, number in counts["unread_scopes"].items():
        log.warning("spans that look like model traffic, in no known dialect", scope=scope, spans=number)
