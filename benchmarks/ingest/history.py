"""How long the rows of an export take: read, made spans, stored.

    python -m benchmarks.ingest.history --rows 1000000
    python -m benchmarks.ingest.history --rows 1000000 --vendor langfuse --format parquet

Rows are what `benchmarks.ingest.exports` makes, half of the spans model calls with a question of 400 characters, in one
file: JSON lines, or Parquet with text columns where rows have objects. No receiver runs: they go through the log into
the day's file. One JSON object for each product; of MLflow, whose rows are whole traces, an eighth of the rows.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import orjson
import pyarrow as pa
from pyarrow import parquet

from benchmarks.ingest.exports import SPANS_A_TRACE, VENDORS
from receiver.history.importing import import_history

ROWS_A_GROUP = 10_000


def main() -> None:
    """Write the files, import each in a process of its own, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--vendor", choices=VENDORS)
    parser.add_argument("--format", choices=("jsonl", "parquet"), default="jsonl")
    arguments = parser.parse_args()
    if arguments.vendor is not None:
        print(json.dumps(measure(arguments.vendor, arguments.rows, arguments.format)), flush=True)
        return
    for vendor in VENDORS:
        own = ["--vendor", vendor, "--rows", str(arguments.rows), "--format", arguments.format]
        subprocess.run([sys.executable, "-m", "benchmarks.ingest.history", *own], check=True)


def measure(vendor: str, num_rows: int, kind: str) -> dict[str, object]:
    """Return the figures of one import."""
    num_rows = num_rows // SPANS_A_TRACE if vendor == "mlflow" else num_rows
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / f"export.{kind}"
        (write_lines if kind == "jsonl" else write_parquet)(path, vendor, num_rows)
        began, cpu_began = time.perf_counter(), time.process_time()
        outcome = import_history(vendor, [path], Path(directory) / "data")
        seconds, cpu_s = time.perf_counter() - began, time.process_time() - cpu_began
        return {
            "vendor": vendor,
            "format": kind,
            "rows": outcome.rows,
            "imported": outcome.imported,
            "spans": outcome.spans,
            "scores": outcome.scores,
            "file_mib": round(path.stat().st_size / 2**20),
            "seconds": round(seconds, 1),
            "cpu_s": round(cpu_s, 1),
            "rows_per_s": round(outcome.rows / seconds),
            "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        }


def write_lines(path: Path, vendor: str, num_rows: int) -> None:
    """Write an export as JSON lines."""
    row = VENDORS[vendor]
    with path.open("wb") as file:
        for number in range(num_rows):
            file.write(orjson.dumps(row(number), option=orjson.OPT_APPEND_NEWLINE))


def write_parquet(path: Path, vendor: str, num_rows: int) -> None:
    """Write an export as Parquet; whatever has more to it than text or a number is JSON text, as the products do."""
    row = VENDORS[vendor]
    sample = [row(number) for number in range(SPANS_A_TRACE + 1)]
    names = dict.fromkeys(name for each in sample for name in each)
    with parquet.ParquetWriter(path, pa.schema([(name, pa.string()) for name in names])) as writer:
        for numbers in _batches(num_rows):
            columns: dict[str, list[str | None]] = {name: [] for name in names}
            for number in numbers:
                made = row(number)
                for name, column in columns.items():
                    value = made.get(name)
                    column.append(value if value is None or isinstance(value, str) else orjson.dumps(value).decode())
            writer.write_table(pa.table(columns, schema=writer.schema))


def _batches(num_rows: int) -> list[range]:
    return [range(start, min(start + ROWS_A_GROUP, num_rows)) for start in range(0, num_rows, ROWS_A_GROUP)]


if __name__ == "__main__":
    main()
