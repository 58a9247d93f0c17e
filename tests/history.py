"""Exports of other products, as tests write them, and the ETL run over what they become."""

import io
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pyarrow as pa

from etl.exports.export import decoded
from etl.tables import Dataset
from receiver.decode.arrow import SCHEMAS, decode
from receiver.decode.otlp import REQUESTS, Signal
from receiver.history.aside import Aside
from receiver.history.importing import VENDORS, Outcome, read_files
from tests.recordings import RECEIVED_NS, frame_of, run

TABLES = ((Signal.TRACES, "spans"), (Signal.LOGS, "log_records"))


def write_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_bytes(b"\n".join(map(orjson.dumps, rows)))
    return path


def imported(vendor: str, *files: Path) -> tuple[Outcome, pl.DataFrame, pl.DataFrame]:
    """Import without storing; return the outcome, the spans and the log records."""
    aside = Aside(io.BytesIO(), vendor)
    outcome = read_files(VENDORS[vendor], files, aside, Path("/nonexistent"))
    batches: dict[Signal, list[pa.RecordBatch]] = {Signal.TRACES: [], Signal.LOGS: []}
    for seq, (signal, body) in enumerate(aside.requests(), start=1):
        message = REQUESTS[signal].FromString(body)
        batches[signal].append(decode(signal, message, project="default", received_ns=RECEIVED_NS, seq=seq))
    spans, logs = (frame_of(pa.Table.from_batches(batches[signal], schema=SCHEMAS[table])) for signal, table in TABLES)
    return outcome, spans, logs


def transitions(vendor: str, *files: Path) -> tuple[Outcome, list[dict[str, Any]], Dataset]:
    """Import and run the ETL; return the outcome, the transitions in their order, and all tables."""
    outcome, spans, logs = imported(vendor, *files)
    dataset = run(spans, logs)
    rows = dataset.tables["transitions"].sort("episode_id", "step").iter_rows(named=True)
    return outcome, [decoded("transitions", row) for row in rows], dataset
