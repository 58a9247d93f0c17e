"""Has buckets processed: here, by several processes of this machine, or by a Ray cluster. The result is the same."""

import atexit
import multiprocessing
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection, wait

from etl.runs.buckets import Bucket
from etl.runs.cores import available_bytes, num_cores
from etl.runs.several import open_receivers, read_traces
from etl.runs.work import Job, Processed, Worker
from etl.settings import EtlConfig
from foundation.errors import SpanloopError
from receiver.schema import Reader

SPANS_WORTH_A_PROCESS = 50_000
"""A process takes over a second to start; below so many spans for each it does not pay."""

BASE_BYTES = 300 * 2**20
SPAN_BYTES = 12 * 2**10
TEXT_BYTES = 2.5
"""What a process takes, and what a span of its bucket and a byte of its text add to it: measured, rounded up."""


def process_all(
    job: Job, buckets: Mapping[int, Bucket], reader: Reader, *, num_workers: int
) -> Iterator[tuple[int, Processed]]:
    """Process buckets, by number; yield what came of each as it is done, in any order."""
    if job.config.ray is not None:
        from etl.runs.ray_data import process_with_ray  # deferred: only this needs Ray's part of the code

        yield from process_with_ray(job, buckets, reader)
    elif num_workers > 1:
        yield from _process_in_parallel(job, buckets, num_workers)
    else:
        worker = Worker(job, partial(read_traces, reader))
        for number, bucket in buckets.items():
            yield number, worker.process(bucket)


def choose_workers(config: EtlConfig, buckets: Sequence[Bucket]) -> int:
    """Return how many processes to use: as the settings say, else as cores, memory and the work to do allow."""
    if config.workers is not None:
        return min(config.workers, len(buckets))
    num_spans = sum(bucket.num_spans for bucket in buckets)
    largest = max((SPAN_BYTES * own.num_spans + TEXT_BYTES * own.num_bytes for own in buckets), default=0)
    limits = (
        num_cores(),
        int(available_bytes() // (BASE_BYTES + largest)),
        num_spans // SPANS_WORTH_A_PROCESS,
        len(buckets),
    )
    return max(1, min(limits))


_job: Job | None = None
_reader: Reader | None = None
_worker: Worker | None = None
"""Of this process, where it is one of a pool."""


def _process_in_parallel(job: Job, buckets: Mapping[int, Bucket], num_workers: int) -> Iterator[tuple[int, Processed]]:
    threads = max(1, num_cores() // num_workers)
    with (
        _environment(POLARS_MAX_THREADS=str(threads)),
        ProcessPoolExecutor(
            num_workers, mp_context=multiprocessing.get_context("spawn"), initializer=_open, initargs=(job,)
        ) as pool,
    ):
        try:
            yield from zip(buckets, pool.map(_process, buckets.values()), strict=True)
        except BrokenProcessPool as error:
            raise SpanloopError(
                f"one of {num_workers} processes that transform buckets was killed, most likely for its memory",
                hint=f"Use fewer (--workers) or smaller buckets (--bucket-spans, now {job.config.bucket_spans}).",
            ) from error


def _open(job: Job) -> None:
    global _job
    listening, ending = multiprocessing.Pipe(duplex=False)
    watch = threading.Thread(target=_end_with_parent, args=(listening,), daemon=True)
    watch.start()
    atexit.register(_close, ending, watch)
    _job = job


def _end_with_parent(listening: Connection) -> None:
    """End this process when the one that started it is gone, however it ended: it would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None and parent.sentinel in wait([parent.sentinel, listening]):
        os._exit(1)


def _close(ending: Connection, watch: threading.Thread) -> None:
    global _worker, _reader
    _worker = None
    if _reader is not None:
        _reader.close()
        _reader = None
    ending.close()
    watch.join()


def _process(bucket: Bucket) -> Processed:
    """Process a bucket; what goes wrong with the first, as with the settings, is raised in the process that asked."""
    global _reader, _worker
    if _worker is None:
        assert _job is not None
        _reader = open_receivers(_job.config.data)
        _worker = Worker(_job, partial(read_traces, _reader))
    return _worker.process(bucket)


@contextmanager
def _environment(**variables: str) -> Iterator[None]:
    """Set variables of the environment that processes started within will see, unless somebody has set them."""
    added = {name: value for name, value in variables.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]
