"""How soon a span is queryable once acknowledged, and whether memory stays bounded, at full rate.

    python -m benchmarks.ingest.endurance --mix llm --in-flight 16 --seconds 30
    python -m benchmarks.ingest.endurance --mix llm --in-flight 4 --seconds 600
    python -m benchmarks.ingest.endurance --mix llm --in-flight 4 --seconds 300 --memory-limit 500MB

A fifth of a second after the last such answer, the trace of a request that was acknowledged this moment is asked for,
again and again until its spans are in an answer: the time from the acknowledgement to that answer, the query included.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.ingest.load import SPANS_A_REQUEST, SPANS_A_TRACE, Sender, make_bodies, start, trace_id, until
from benchmarks.ingest.servers import Server, query, receiver, wait_until_landed

PATIENCE_S = 30.0
NUM_PARTS = 10
"""The run is told in so many parts, so that growth shows."""


def main() -> None:
    """Run one measurement and print it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mix", choices=["small", "llm"], default="llm")
    parser.add_argument("--in-flight", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--memory-limit", default="2GB", help="of the receiver, for DuckDB")
    arguments = parser.parse_args()
    limit = ("--memory-limit", arguments.memory_limit)
    bodies = make_bodies(arguments.mix, 32)
    with tempfile.TemporaryDirectory() as directory, receiver(Path(directory) / "data", *limit) as server:
        idle_mb = server.memory_mb()
        began = time.perf_counter()
        senders = start(server.grpc, bodies, until(arguments.seconds), in_flight=arguments.in_flight)
        waits, resident = watch(server, senders, arguments.seconds / NUM_PARTS)
        for sender in senders:
            sender.finish()
        num_spans = sum(len(sender.latencies) for sender in senders) * SPANS_A_REQUEST
        wait_until_landed(server)
        landed_s = time.perf_counter() - began
        found = int(str(query(server, "select count(*) as n from spans")[0]["n"]))
        waits.sort()
        print(
            json.dumps(
                {
                    "mix": arguments.mix,
                    "in_flight": arguments.in_flight,
                    "memory_limit": arguments.memory_limit,
                    "spans": num_spans,
                    "missing": num_spans - found,
                    "landed_per_s": round(num_spans / landed_s),
                    "refused": sum(sender.refused for sender in senders),
                    "probes": len(waits),
                    "queryable_p50_ms": round(waits[len(waits) // 2] * 1000, 1),
                    "queryable_p99_ms": round(waits[int(len(waits) * 0.99)] * 1000, 1),
                    "queryable_max_ms": round(waits[-1] * 1000, 1),
                    "idle_rss_mb": idle_mb,
                    "rss_mb_by_tenth": resident,
                    "peak_rss_mb": server.memory_mb("VmHWM"),
                }
            )
        )


def watch(server: Server, senders: Sequence[Sender], part_s: float) -> tuple[list[float], list[int]]:
    """Probe until all is sent; return how long each probe took, in seconds, and the most memory seen in each part."""
    waits: list[float] = []
    resident: list[int] = []
    began = time.perf_counter()
    while any(sender.is_alive() for sender in senders):
        time.sleep(0.2)
        now_mb, part = server.memory_mb(), int((time.perf_counter() - began) / part_s)
        resident += [now_mb] * (part + 1 - len(resident))  # also of parts that went by while one probe waited
        resident[part] = max(resident[part], now_mb)
        latest = max(
            (sender.acknowledged for sender in senders if sender.acknowledged), key=lambda it: it[1], default=None
        )
        if latest:
            waits.append(wait_for(server, *latest))
    return waits, resident[:NUM_PARTS]


def wait_for(server: Server, number: int, acknowledged: float) -> float:
    """Ask for a trace until it is there; return the seconds from its acknowledgement to the answer."""
    while (waited_s := time.perf_counter() - acknowledged) < PATIENCE_S:
        rows = query(server, f"select count(*) as n from spans where trace_id = '{trace_id(number)}'")
        if rows[0]["n"] == SPANS_A_TRACE:
            return time.perf_counter() - acknowledged
    raise RuntimeError(f"request {number} was acknowledged {waited_s:.0f} s ago and is in no answer")


if __name__ == "__main__":
    main()
