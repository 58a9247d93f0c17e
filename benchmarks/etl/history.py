"""Measures a night of new traces on top of a long published history, which is made here.

    python -m benchmarks.etl.history --episodes 10000000 --traces 10000 --data DIR

The history is windows of 10,000 episodes of the mix of `benchmarks.etl`: their rows with ids, sides and signatures of
their own in every window, and without the text of messages, which a night does not read. The night comes through the
receiver's code and is processed by `spanloop etl run`.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.etl.__main__ import fill, tree_bytes

EPISODES_A_WINDOW = 10_000
SPANS_A_TRACE = 15
TEXTS = {
    "llm_calls": ("input", "output", "tools"),
    "transitions": ("observation", "next_observation", "action", "tools"),
}
IDS = ("trace_id", "episode_id", "judged_trace_id", "task_id", "split_group")


def sample(directory: Path) -> dict[str, pl.DataFrame]:
    """Return the rows of one window."""
    from etl.schema import TABLES, table_files
    from etl.tables import scan

    fill(directory, EPISODES_A_WINDOW * SPANS_A_TRACE)
    run(directory, workers=2)
    found = {name: scan(name, table_files(directory, name)).collect() for name in TABLES}
    for name, columns in TEXTS.items():
        found[name] = found[name].with_columns(pl.lit("[]").alias(column) for column in columns)
    return found


def of_window(table: str, rows: pl.DataFrame, number: int) -> pl.DataFrame:
    """Return rows as those of another window: other traces, episodes, answers and tasks."""
    prefix = f"{number + 1:08x}"

    def moved(column: pl.Expr) -> pl.Expr:
        return pl.concat_str(pl.lit(prefix), column.str.slice(8))

    changed = [moved(pl.col(name)).alias(name) for name in IDS if name in rows.columns]
    if table == "llm_calls":
        changed.append((pl.col("response_id") + f"-{number}").alias("response_id"))
    if table == "episodes":
        changed.append(pl.col("trace_ids").list.eval(moved(pl.element())))
        mixed = np.random.Generator(np.random.PCG64(number)).integers(-(2**63), 2**63 - 1, dtype=np.int64)
        own = rows["split_signature"].explode().to_numpy() ^ mixed  # as another number in the text would
        lists = pl.Series("split_signature", own.reshape(rows.height, -1)).arr.to_list()
        rows = rows.with_columns(lists)
    return rows.with_columns(changed)


def make(data: Path, num_episodes: int) -> None:
    """Publish a history of so many episodes."""
    from etl.published.publish import load_watermark, sweep
    from etl.schema import dataset_directory, watermark_path
    from foundation.files import write_json

    with tempfile.TemporaryDirectory() as name:
        rows = sample(Path(name))
    windows = []
    for number in range(num_episodes // EPISODES_A_WINDOW):
        window = f"{10**9 + number:012d}-{10**9 + number:012d}"
        files = {}
        for table, own in rows.items():
            part = f"part-{window}-{number:012x}.parquet"
            (directory := dataset_directory(data, table)).mkdir(parents=True, exist_ok=True)
            of_window(table, own, number).write_parquet(directory / part, compression="zstd", compression_level=1)
            files[table] = [part]
        windows.append({"window": window, "since_seq": 0, "until_seq": 0, "files": files})
    write_json(watermark_path(data), {**load_watermark(data), "windows": windows})
    began = time.monotonic()
    sweep(data)
    print(f"index made in {time.monotonic() - began:.0f} s", file=sys.stderr)


def run(data: Path, *, workers: int) -> dict[str, Any]:
    """Run the ETL as a process of its own; return its report with what it took."""
    command = [sys.executable, "-m", "spanloop", "etl", "run", "--data", str(data), "--complete-after", "0", "--json"]
    with tempfile.TemporaryFile() as output:
        peak, began = 0, time.monotonic()
        process = subprocess.Popen([*command, "--workers", str(workers)], stdout=output)
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            peak = max(peak, tree_bytes(process.pid))
            time.sleep(0.1)
        assert status == 0
        wall_s, cpu_s = time.monotonic() - began, usage.ru_utime + usage.ru_stime
        output.seek(0)
        return {**json.load(output), "wall_s": wall_s, "cpu_s": cpu_s, "peak": peak}


def main() -> None:
    """Make the history where there is none, process a night, and print what that took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=1_000_000)
    parser.add_argument("--traces", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--data", type=Path, required=True)
    arguments = parser.parse_args()
    data: Path = arguments.data
    if not (data / "dataset").exists():
        make(data, arguments.episodes)
    if arguments.traces:
        fill(data, arguments.traces * SPANS_A_TRACE)
    report = run(data, workers=arguments.workers)
    phases = {phase["name"]: round(phase["duration_s"], 1) for phase in report["phases"]}
    index = sum(path.stat().st_size for path in (data / "dataset" / "index").glob("*"))
    found = {
        "episodes": report["num_rows"]["episodes"],
        "transitions": report["num_rows"]["transitions"],
        "wall_s": round(report["wall_s"], 1),
        "cpu_s": round(report["cpu_s"], 1),
        "peak_rss_mib": report["peak"] // 2**20,
        "phases_s": phases,
        "index_mib": index // 2**20,
    }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
