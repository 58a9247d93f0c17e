"""Has buckets processed by Ray Data: one task a bucket, each the same function that one process would run.

A task reads its bucket from the data directory (a shared file system), or asks the receiver that holds it. Where that
one answers its own machine alone, the spans of the buckets are written as Arrow files beside the dataset instead. Never
`map_groups`: a Python call a trace takes over ten times as long, and buckets hold whole traces already.
"""

import os
import pickle
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import polars as pl

from etl.episodes.grouping import Trace
from etl.runs.buckets import Bucket
from etl.runs.cores import num_cores
from etl.runs.several import open_receivers, read_traces
from etl.runs.work import Job, Processed, Read, Worker
from foundation.errors import SettingsError, SpanloopError
from foundation.web import places
from receiver.schema import Reader, find

LOOPBACK = {"127.0.0.1", "::1", "localhost"}


def process_with_ray(job: Job, buckets: Mapping[int, Bucket], reader: Reader) -> Iterator[tuple[int, Processed]]:
    """Process buckets on the cluster that the settings name; yield what came of each by number, in any order."""
    ray, job = _ray(), _absolute(job)
    directory = job.config.data / "dataset"
    directory.mkdir(parents=True, exist_ok=True)
    with _cluster(ray, job), tempfile.TemporaryDirectory(prefix=".buckets-", dir=directory) as name:
        if can_read(job):
            items = [name_bucket(number, bucket) for number, bucket in buckets.items()]
        else:
            items = [write_bucket(Path(name), number, bucket, reader) for number, bucket in buckets.items()]
        rows = ray.data.from_items(items, override_num_blocks=len(items))
        for row in rows.map(partial(process_bucket, job)).iter_rows():
            if row["error"]:
                raise pickle.loads(row["error"])  # noqa: S301 - a task of this run wrote it
            yield row["number"], Processed.from_json(row["processed"])


def _ray() -> Any:  # noqa: ANN401 - the module
    try:
        import ray.data
    except ImportError as error:
        raise SettingsError("--ray needs Ray, which is not installed", hint="pip install 'spanloop[ray]'") from error
    return ray


@contextmanager
def _cluster(ray: Any, job: Job) -> Iterator[None]:  # noqa: ANN401 - the module
    """Connect to the cluster, or start one here, for as long as the block runs."""
    address = job.config.ray
    is_local = address == "local"
    size = {"num_cpus": job.config.workers or num_cores(), "include_dashboard": False} if is_local else {}
    threads = {"env_vars": {"POLARS_MAX_THREADS": "1", **places.named()}}  # a task has one core
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(address=address, runtime_env=threads, log_to_driver=False, logging_level="warning", **size)
    ray.data.DataContext.get_current().enable_progress_bars = False
    try:
        yield
    finally:
        ray.shutdown()


def _absolute(job: Job) -> Job:
    """Return the job with paths that mean the same wherever a task runs."""
    config = job.config
    paths = {
        name: path.resolve()
        for name in ("data", "reward_sql", "tokenizer")
        if (path := getattr(config, name)) is not None
    }
    return replace(job, config=config.model_copy(update=paths))


def can_read(job: Job) -> bool:
    """Tell whether tasks read DATA themselves: no receiver holds it, or one that answers wherever they run."""
    named = places.receivers()
    if len(named) > 1 or any(place.is_store for place in named):
        here = {*LOOPBACK, None}  # None: a store in a directory
        return job.config.ray == "local" or not any(urlsplit(place.url).hostname in here for place in named)
    where = find(job.config.data)
    host = urlsplit(where["http"]).hostname if where is not None else None
    return job.config.ray == "local" or host not in LOOPBACK


def name_bucket(number: int, bucket: Bucket) -> dict[str, Any]:
    """Return what a task that reads its bucket itself needs to know of it."""
    return {"number": number, "bucket": pickle.dumps(bucket), "spans": "", "logs": ""}


def write_bucket(directory: Path, number: int, bucket: Bucket, reader: Reader) -> dict[str, Any]:
    """Write the spans and log records of a bucket as files, and return what a task that reads these needs to know."""
    spans, logs = read_traces(reader, bucket.traces, (bucket.first_seq, bucket.last_seq) if bucket.num_spans else None)
    paths = {"spans": directory / f"{number:06d}.spans.arrow", "logs": directory / f"{number:06d}.logs.arrow"}
    spans.write_ipc(paths["spans"])
    logs.write_ipc(paths["logs"])
    return {**name_bucket(number, bucket), **{name: str(path) for name, path in paths.items()}}


def process_bucket(job: Job, item: dict[str, Any]) -> dict[str, Any]:
    """Process one bucket: what a task of the cluster runs."""
    bucket: Bucket = pickle.loads(item["bucket"])  # noqa: S301 - written by this run
    done = {"number": item["number"], "processed": b"", "error": b""}
    try:
        with _reading(job.config.data, item, bucket) as read:
            return {**done, "processed": Worker(job, read).process(bucket).to_json()}
    except SpanloopError as error:
        return {**done, "error": pickle.dumps(error)}  # Ray would bury it in its own


@contextmanager
def _reading(data: Path, item: dict[str, Any], bucket: Bucket) -> Iterator[Read]:
    if item["spans"]:
        yield partial(_read, data, item, bucket.traces)
        return
    with closing(open_receivers(data)) as reader:
        yield partial(read_traces, reader)


def _read(
    data: Path, item: dict[str, Any], own: set[Trace], traces: set[Trace], received: tuple[int, int] | None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Read the bucket's files; only where it turns out to need published traces too, the store."""
    if traces == own:
        return pl.read_ipc(item["spans"]), pl.read_ipc(item["logs"])
    with closing(open_receivers(data)) as reader:
        return read_traces(reader, traces, received)
