"""The compiled decoder of span requests (`spans.c`): bytes to Arrow columns without a Python object a span.

It reads only what it is sure of and leaves the rest to `receiver.decode.arrow`, whose rows it equals byte for byte.
Where no C compiler was found at installation everything goes that way, ten times slower.
"""

import ctypes
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pyarrow as pa

LIBRARY = Path(__file__).parent / "libspans.so"
"""Built by `hatch_build.py` when the project is installed."""

ABI_VERSION = 2
"""Version of the interface, as in `spans.c`: a library that was built from other sources is not called."""

TEXTS = (
    "trace_id", "span_id", "parent_span_id", "trace_state", "name", "kind", "status_code", "status_message",
    "service_name", "resource", "resource_schema_url", "scope_name", "scope_version", "scope_attributes",
    "scope_schema_url", "attributes", "events", "links",
)  # fmt: skip
LONGS = ("start_time", "end_time", "start_ns", "end_ns")
INTS = (
    "flags", "dropped_attributes_count", "dropped_events_count", "dropped_links_count",
    "resource_dropped_attributes_count", "scope_dropped_attributes_count",
)  # fmt: skip
"""Columns in the order of `spans.c`."""

INSTANT = pa.timestamp("us", tz="UTC")


class _TextColumn(ctypes.Structure):
    _fields_ = (
        ("offsets", ctypes.c_void_p),
        ("validity", ctypes.c_void_p),
        ("num_nulls", ctypes.c_int64),
        ("bytes", ctypes.c_void_p),
        ("size", ctypes.c_int64),
        ("capacity", ctypes.c_int64),
    )


class _Batch(ctypes.Structure):
    _fields_ = (
        ("num_rows", ctypes.c_int64),
        ("num_items", ctypes.c_int64),
        ("num_rejected", ctypes.c_int64),
        ("looks_like_logs", ctypes.c_int64),
        ("row_capacity", ctypes.c_int64),
        ("texts", _TextColumn * len(TEXTS)),
        ("longs", ctypes.c_void_p * len(LONGS)),
        ("ints", ctypes.c_void_p * len(INTS)),
    )


ABI = ABI_VERSION << 32 | ctypes.sizeof(_Batch)


class _Memory:
    """What the library allocated; freed with the last Arrow buffer that lies in it."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self.batch = _Batch()
        self._free = library.spanloop_free

    def __del__(self) -> None:
        self._free(ctypes.byref(self.batch))


@dataclass(frozen=True)
class NativeSpans:
    """The spans of one request."""

    columns: dict[str, pa.Array]
    num_rows: int
    num_items: int
    num_rejected: int
    looks_like_logs: bool


@cache
def _library() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL(str(LIBRARY))
        library.spanloop_abi.restype = ctypes.c_int64
        abi = library.spanloop_abi()
    except (OSError, AttributeError):  # none was built, or one before it told its version
        return None
    if abi != ABI:
        return None
    library.spanloop_decode_spans.argtypes = (ctypes.c_char_p, ctypes.c_int64, ctypes.c_void_p)
    library.spanloop_decode_spans.restype = ctypes.c_int
    library.spanloop_free.argtypes = (ctypes.c_void_p,)
    library.spanloop_free.restype = None
    return library


def is_available() -> bool:
    """Tell whether the compiled decoder was built."""
    return _library() is not None


def decode_spans(body: bytes) -> NativeSpans | None:
    """Decode an ExportTraceServiceRequest; None when protobuf has to judge it."""
    library = _library()
    if library is None:
        return None
    memory = _Memory(library)
    batch = memory.batch
    if library.spanloop_decode_spans(body, len(body), ctypes.byref(batch)) != 0:
        return None
    num_rows = batch.num_rows

    def buffer(address: int | None, size: int) -> pa.Buffer:
        return pa.foreign_buffer(address, size, base=memory) if address else pa.py_buffer(b"")

    columns = {}
    for name, text in zip(TEXTS, batch.texts, strict=True):
        validity = buffer(text.validity, num_rows // 8 + 1) if text.num_nulls else None
        parts = [validity, buffer(text.offsets, (num_rows + 1) * 4), buffer(text.bytes, text.size)]
        columns[name] = pa.Array.from_buffers(pa.string(), num_rows, parts, null_count=text.num_nulls)
    for name, address in zip(LONGS, batch.longs, strict=True):
        kind = INSTANT if name.endswith("_time") else pa.int64()
        columns[name] = pa.Array.from_buffers(kind, num_rows, [None, buffer(address, num_rows * 8)], null_count=0)
    for name, address in zip(INTS, batch.ints, strict=True):
        columns[name] = pa.Array.from_buffers(
            pa.uint32(), num_rows, [None, buffer(address, num_rows * 4)], null_count=0
        )
    return NativeSpans(columns, num_rows, batch.num_items, batch.num_rejected, bool(batch.looks_like_logs))
