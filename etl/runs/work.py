"""Reads, transforms and writes one bucket: the piece of work that any process, on any machine, can take."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
import polars as pl

from etl.calls.tokens import load_decoder
from etl.episodes.grouping import Trace
from etl.published.publish import Files, write_part
from etl.published.rows import Published
from etl.published.window import Window
from etl.rewards.outlived import forgotten, keep_outlived
from etl.rewards.signals.reply_judge import load_judge
from etl.rewards.sql import read_queries
from etl.rewards.stand_ins import of_rows
from etl.runs.buckets import Bucket
from etl.settings import EtlConfig
from etl.tables import Dataset
from etl.transform import transform

Read = Callable[[set[Trace], tuple[int, int] | None], tuple[pl.DataFrame, pl.DataFrame]]
"""Every span and log record of traces; with the first and last request that hold their spans, where that is known."""


@dataclass(frozen=True, slots=True)
class Job:
    """What all buckets of a run are processed by; it travels to other processes."""

    config: EtlConfig
    window: Window
    now_us: int
    stand_ins: frozenset[Trace] = frozenset()
    """The stand-ins of traces in its buckets."""

    is_dry: bool = False
    """Write nothing."""


@dataclass(slots=True)
class Processed:
    """What came of one bucket: counts, and the names of the files its rows are in, unpublished."""

    traces: set[Trace]
    """The bucket's, and those published earlier that turned out to belong to an episode of it."""

    counts: dict[str, Any]
    num_rows: dict[str, int]
    parts: Files = field(default_factory=dict)
    pending: list[Trace] = field(default_factory=list)

    def to_json(self) -> bytes:
        """Return it as JSON."""
        return orjson.dumps(
            {
                "traces": sorted(self.traces),
                "counts": self.counts,
                "num_rows": self.num_rows,
                "parts": self.parts,
                "pending": self.pending,
            }
        )

    @classmethod
    def from_json(cls, text: bytes | str) -> "Processed":
        """Read what `to_json` wrote."""
        value = orjson.loads(text)
        traces, pending = ([(project, trace) for project, trace in value[key]] for key in ("traces", "pending"))
        return cls(set(traces), value["counts"], value["num_rows"], value["parts"], pending)


class Worker:
    """Processes buckets of one run, one after the other; what it keeps between them is what is published."""

    def __init__(self, job: Job, read: Read) -> None:
        self._job = job
        self._read = read
        self._published = Published(job.config.data)
        self._queries = read_queries(job.config.reward_sql)
        self._decode = load_decoder(job.config.tokenizer)
        self._judge_reply = load_judge(job.config)

    def process(self, bucket: Bucket) -> Processed:
        """Process a bucket, with every published trace that turns out to belong to an episode of it."""
        traces, dataset = self._transform(bucket)
        num_rows = {table: rows.height for table, rows in dataset.tables.items()}
        processed = Processed(traces, dataset.counts, num_rows, pending=dataset.pending)
        if not self._job.is_dry:
            processed.parts = write_part(self._job.config.data, self._job.window, dataset)
        return processed

    def _transform(self, bucket: Bucket) -> tuple[set[Trace], Dataset]:
        traces = bucket.traces
        received = (bucket.first_seq, bucket.last_seq) if bucket.num_spans else None
        while True:
            spans, logs = self._read(traces, received)
            dataset = self._made_of(traces, spans, logs)
            related = self._published.related(dataset) | self._judging(dataset)
            joined = self._published.with_their_episodes(traces | related)
            if joined == traces:
                return traces, dataset
            traces, received = joined, None

    def _made_of(self, traces: set[Trace], spans: pl.DataFrame, logs: pl.DataFrame) -> Dataset:
        """Return what comes of spans and records; of traces whose spans are gone what was published of them."""
        job, published = self._job, self._published
        outlived = published.outlived(traces, spans)
        gone = pl.DataFrame(sorted(outlived), schema={"project": pl.String, "trace_id": pl.String}, orient="row")
        before = published.given_before(traces)
        with no_cycle_collection():
            dataset = transform(
                spans.join(gone, on=["project", "trace_id"], how="anti", maintain_order="left") if outlived else spans,
                logs,
                job.config,
                now_us=job.now_us,
                queries=self._queries,
                decode=self._decode,
                judge_reply=self._judge_reply,
                remembered=forgotten(before.join(gone, on=["project", "trace_id"], how="anti"), logs),
                taken=published.taken(traces),
                stored=published,
            )
        if outlived:
            keep_outlived(dataset, published.rows(outlived), logs, job.config)
        return dataset

    def _judging(self, dataset: Dataset) -> set[Trace]:
        """Return the stand-ins and traces whose rewards judge something in a dataset."""
        named = of_rows(dataset.tables["llm_calls"], dataset.tables["episodes"])
        standing = (named & self._job.stand_ins) | self._published.standing(named)
        return standing | self._published.judging(named)


@contextmanager
def no_cycle_collection() -> Iterator[None]:
    """Keep Python from searching millions of fresh messages for cycles they do not have: a third of the time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
