"""Rows that were taken and have not landed: Arrow batches in memory, in the order of receipt."""

import hashlib
import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date

import numpy as np
import pyarrow as pa

from receiver.days.files import day_of
from receiver.tables import SHARED_TEXTS, TABLES

SHARED_SCHEMA = pa.schema([("reference", pa.large_string()), ("text", pa.large_string())])


@dataclass(frozen=True)
class Decoded:
    """One request, ready to be stored."""

    seq: int
    received_ns: int
    table: str
    batch: pa.RecordBatch
    body_digest: str = ""
    """Digest of a log request's bytes, which is its identity."""
    project: str = "default"
    shared: Mapping[str, str] = field(default_factory=dict)
    """Long texts its rows refer to, by their references."""
    num_bytes: int = field(init=False, compare=False)
    """Memory the rows take."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "num_bytes", self.batch.nbytes + sum(map(len, self.shared.values())))

    @property
    def day(self) -> date:
        """The UTC day of receipt."""
        return day_of(self.received_ns)

    @property
    def log_key(self) -> str:
        """Identity of a log request; empty for spans."""
        return f"{self.project} {self.body_digest}" if self.table == "log_records" else ""


def body_digest(body: bytes) -> str:
    """Return the identity of a log request."""
    return hashlib.blake2b(body, digest_size=16).hexdigest()


class HotTail:
    """The requests that wait to land. Whoever uses it holds the store's lock."""

    def __init__(self) -> None:
        self.requests: list[Decoded] = []
        self.log_keys: set[str] = set()
        self.num_rows = 0
        self.num_bytes = 0

    def add(self, requests: Iterable[Decoded]) -> None:
        """Append requests."""
        for request in requests:
            self.requests.append(request)
            self.log_keys.add(request.log_key)
            self.num_rows += request.batch.num_rows
            self.num_bytes += request.num_bytes

    def first(self, max_bytes: int | None) -> list[Decoded]:
        """Return the oldest requests, at least one and so many bytes at most; all of them without a bound."""
        if max_bytes is None:
            return list(self.requests)
        sizes = itertools.accumulate(request.num_bytes for request in self.requests)
        return self.requests[: max(1, sum(size <= max_bytes for size in sizes))]

    def drop(self, count: int) -> None:
        """Forget the oldest requests."""
        for request in self.requests[:count]:
            self.log_keys.discard(request.log_key)
            self.num_rows -= request.batch.num_rows
            self.num_bytes -= request.num_bytes
        del self.requests[:count]

    def batches(self) -> dict[str, list[pa.RecordBatch]]:
        """Return the batches of every table."""
        batches = {table: [request.batch for request in self.requests if request.table == table] for table in TABLES}
        if shared := shared_of(self.requests):
            batches[SHARED_TEXTS] = shared.to_batches()
        return batches


def shared_of(requests: Iterable[Decoded]) -> pa.Table | None:
    """Return the long texts that requests refer to, each once; None where they refer to none."""
    texts: dict[str, str] = {}
    for request in requests:
        texts.update(request.shared)
    if not texts:
        return None
    return pa.table([_large_texts([*texts]), _large_texts([*texts.values()])], schema=SHARED_SCHEMA)


def of_traces(batches: list[pa.RecordBatch], traces: frozenset[str]) -> list[pa.RecordBatch]:
    """Return the batches that hold a row of one of these traces, found in one pass without Python's lock."""
    import pyarrow.compute as pc  # 9 MB that a receiver nobody looks a trace up in does not need

    if not batches:
        return []
    column = pa.chunked_array([batch.column("trace_id") for batch in batches])
    rows = pc.indices_nonzero(pc.is_in(column, value_set=_texts(sorted(traces))))
    ends = np.cumsum([batch.num_rows for batch in batches])
    found = np.searchsorted(ends, np.frombuffer(rows.buffers()[1], np.uint64, len(rows)), side="right")
    return [batches[number] for number in np.unique(found)]


def _texts(values: list[str]) -> pa.StringArray:
    return _large_texts(values).cast(pa.string())


def _large_texts(values: list[str]) -> pa.LargeStringArray:
    # Not `pa.array`, which imports pandas where that is installed.
    encoded = [value.encode() for value in values]
    offsets = np.cumsum([0, *(len(text) for text in encoded)], dtype=np.int64)
    return pa.LargeStringArray.from_buffers(len(encoded), pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded)))
