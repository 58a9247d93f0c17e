"""What the ETL publishes, by digest, however the work was shared and whoever received the spans.

    python -m benchmarks.etl.hashes --spans 6000           # without Ray its two lines are left out

One process, two workers, eight shares (`--bucket i/8`), Ray, Ray with a worker killed while it works, the sealed days
of one receiver in a store: the same bytes. Three receivers, to which traces were dealt by their id, in each of these
ways: the same bytes among them; through a store too, but for numbers of receipt; and of one receiver the same rows, but
for `revision` and `first_seq`, which number requests, and so for the names of the parts.
"""

import argparse
import contextlib
import hashlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import psutil

from benchmarks.etl.__main__ import TRACES_A_REQUEST, fill, request
from benchmarks.ingest.balancer import deal
from benchmarks.ingest.servers import receiver
from etl.schema import TABLES, table_files
from etl.tables import in_order, scan
from receiver.decode.otlp import Signal
from receiver.intake.entry import Intake
from receiver.pipeline import Pipeline

RECEIVERS = 3
SHARES = 8
OF_RECEIPT = ("revision", "first_seq")
SILENT = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
OPTIONS = ["--complete-after", "0", "--bucket-spans", "400"]


def main() -> None:
    """Print a line of JSON for each way, and whether all agree."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spans", type=int, default=6000)
    arguments = parser.parse_args()
    found: list[tuple[str, str, str, str]] = []
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        top = Path(name)
        fill(top / "one", arguments.spans)
        three = [top / f"receiver-{number}" for number in range(RECEIVERS)]
        fill_dealt(three, arguments.spans)
        for source, way, data, environment in ways(top, three, stack):
            began = time.monotonic()
            kills = run(way, data, environment)
            content, rows = digests(data)
            found.append((source, way, content, rows))
            shown = {
                "source": source,
                "way": way,
                "bytes": content[:16],
                "rows": rows[:16],
                "seconds": round(time.monotonic() - began, 1),
            }
            print(json.dumps(shown | ({"killed": kills} if kills else {})), flush=True)
    agree = {
        "one receiver": len({content for source, _, content, _ in found if source.startswith("one")}) == 1,
        "three receivers": len({content for source, _, content, _ in found if source == "three receivers"}) == 1,
        "rows of all": len({rows for *_, rows in found}) == 1,
    }
    print(json.dumps(agree))
    sys.exit(0 if all(agree.values()) else 1)


def ways(
    top: Path, three: list[Path], stack: contextlib.ExitStack
) -> Iterator[tuple[str, str, Path, Mapping[str, str]]]:
    """Yield whose spans are read and in which way, the DATA to run it on, and what it is to find in its environment."""
    sharing = ["one process", "two workers", "eight shares"]
    if importlib.util.find_spec("ray"):
        sharing += ["Ray", "Ray, a worker killed"]
    for way in sharing:
        yield "one receiver", way, top / "one", {}
    urls = [stack.enter_context(receiver(data)).http for data in three]
    for way in sharing:
        yield "three receivers", way, top / "of-three", {"SPANLOOP_RECEIVER": " ".join(urls)}
    stack.close()
    for source, receivers in (("one receiver", [top / "one"]), ("three receivers", three)):
        url = f"file://{top}/store of {source}".replace(" ", "-")
        push(receivers, url)
        yield f"{source}, days in a store", "one process", top / f"of {source}", {"SPANLOOP_RECEIVER": url}


def fill_dealt(three: list[Path], num_spans: int) -> None:
    """Fill a store for each receiver with its part of what `fill` makes."""
    with contextlib.ExitStack() as stack:
        intakes = [Intake(stack.enter_context(closing(Pipeline(data, purpose="benchmark")))) for data in three]
        total = number = 0
        while total < num_spans:
            body, count = request(range(number, number + TRACES_A_REQUEST))
            for place, part in deal(body, len(three)).items():
                intakes[place].take(Signal.TRACES, part)
            total, number = total + count, number + TRACES_A_REQUEST


def push(receivers: list[Path], url: str) -> None:
    """Seal what receivers hold, as if two days had passed, and push it."""
    from foundation.store.opening import open_store
    from receiver.reading.archive import push_days

    later = datetime.now(UTC).date() + timedelta(days=3)
    for data in receivers:
        with closing(Pipeline(data, purpose="benchmark")) as pipeline:
            pipeline.store.seal(later)
        push_days(data, open_store(url), today=later)


def run(way: str, data: Path, environment: Mapping[str, str]) -> int:
    """Publish anew in one of the ways; return how many workers were killed."""
    shutil.rmtree(data / "dataset", ignore_errors=True)
    data.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "spanloop", "etl", "run", "--data", str(data), *OPTIONS]
    own = {**os.environ, **environment}
    if way == "eight shares":
        for number in range(SHARES):
            subprocess.run([*command, "--bucket", f"{number}/{SHARES}"], check=True, env=own, **SILENT)
        publish = [sys.executable, "-m", "spanloop", "etl", "publish", "--data", str(data)]
        subprocess.run(publish, check=True, env=own, **SILENT)
        return 0
    ray = ["--ray", "local", "--workers", "2"] if way.startswith("Ray") else []
    workers = ["--workers", "2" if way == "two workers" else "1"]
    with subprocess.Popen([*command, *(ray or workers)], env=own, **SILENT) as process:
        kills = _kill_a_worker(process.pid) if way.endswith("killed") else 0
        if process.wait() != 0:
            raise RuntimeError(f"{way}: the ETL ended with status {process.returncode}")
    return kills


def _kill_a_worker(pid: int) -> int:
    """Kill the first process of Ray's below one of ours that has begun a task of ours; return how many that was."""
    while True:
        try:
            for one in psutil.Process(pid).children(recursive=True):
                if (one.cmdline() or [""])[0].startswith("ray::Map"):
                    one.send_signal(signal.SIGKILL)
                    return 1
        except psutil.NoSuchProcess:
            if not psutil.pid_exists(pid):
                return 0
        time.sleep(0.002)
        with contextlib.suppress(psutil.NoSuchProcess):
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return 0


def digests(data: Path) -> tuple[str, str]:
    """Return the digest of all published files with their names, and that of all rows but for numbers of receipt."""
    content, rows = hashlib.sha256(), hashlib.sha256()
    for table, columns in TABLES.items():
        files = table_files(data, table)
        for path in sorted(files):
            content.update(f"{table}/{path.name}\n".encode() + path.read_bytes())
        own = in_order(table, scan(table, files).collect())
        kept = own.select(pl.col(name) for name in columns if name not in OF_RECEIPT)
        rows.update(kept.write_json().encode())
    return content.hexdigest(), rows.hexdigest()


if __name__ == "__main__":
    main()
