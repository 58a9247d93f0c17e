"""How long a receiver takes to be ready again: on an empty directory, and after it died with a log to replay.

    python -m benchmarks.ingest.restart --mib 1024

The log is written as a receiver writes it that dies before any of it has landed, then a receiver is started on it: it
is ready once every span of the log is decoded and queryable. Landing goes on behind that and is timed as well.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

from benchmarks.ingest.load import SPANS_A_REQUEST, make_bodies, numbered
from benchmarks.ingest.servers import count, receiver, wait_until_landed
from receiver.decode.otlp import Signal
from receiver.log.disk import OsDisk
from receiver.log.records import Entry
from receiver.log.wal import WriteAheadLog


def main() -> None:
    """Run one measurement and print it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mix", choices=["small", "llm"], default="llm")
    parser.add_argument("--mib", type=int, default=1024, help="size of the log to replay")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        with receiver(Path(directory) / "empty") as server:
            empty_s = server.ready_s
        data = Path(directory) / "data"
        num_spans = write_log(data, make_bodies(arguments.mix, 32), arguments.mib << 20)
        began = time.perf_counter()
        with receiver(data) as server:
            num_queryable = count(server)
            wait_until_landed(server)
            landed_s = time.perf_counter() - began
            peak_mb = server.memory_mb("VmHWM")
    figures = {
        "mix": arguments.mix,
        "log_mib": arguments.mib,
        "spans": num_spans,
        "missing": num_spans - num_queryable,
        "empty_ready_s": round(empty_s, 2),
        "ready_s": round(server.ready_s, 2),
        "ready_s_per_gib": round((server.ready_s - empty_s) / arguments.mib * 1024, 2),
        "landed_s": round(landed_s, 2),
        "peak_memory_mb": peak_mb,
    }
    print(json.dumps(figures))


def write_log(data: Path, bodies: list[bytes], num_bytes: int) -> int:
    """Write a log of about so many bytes of which nothing has landed; return how many spans are in it."""
    log = WriteAheadLog(data / "wal", OsDisk())
    log.open(landed_seq=0)
    num_requests = num_bytes // len(bodies[0])
    for number in range(1, num_requests + 1):
        body = numbered(bodies[number % len(bodies)], number)
        log.write([Entry(int(Signal.TRACES), "default", body, time.time_ns())])
    log.close(landed_seq=0)
    return num_requests * SPANS_A_REQUEST


if __name__ == "__main__":
    main()
