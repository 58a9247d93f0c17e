"""How many spans a second the receiver acknowledges, and how many it makes queryable and lands.

    python -m benchmarks.ingest --mix small --spans 600000 --in-flight 16

With `--rotel PATH` the same load also goes to Rotel, a collector in Rust that here keeps nothing, and the ratios to its
rate are reported, round by round and their medians. To have it, outside this project's environment:

    python -m venv /tmp/rotel && /tmp/rotel/bin/pip install --pre rotel==0.0.1a15
    python -m benchmarks.ingest --rotel /tmp/rotel/lib/python3.11/site-packages/rotel/rotel-agent

The receiver, this generator and its queries are separate processes on one machine. `load.py` says what is sent.
With `--bodies` as large as the number of requests no text comes twice: for the size on disk.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.ingest.load import SPANS_A_REQUEST, make_bodies, send
from benchmarks.ingest.servers import count, receiver, rotel, wait_until_landed

Figures = dict[str, float]


def main() -> None:
    """Run the rounds and print them as JSON, one line a round and one of medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mix", choices=["small", "llm", "texts"], default="small")
    parser.add_argument("--spans", type=int, default=200_000, help="spans a round")
    parser.add_argument("--in-flight", type=int, default=4, help="requests under way at once")
    parser.add_argument("--bodies", type=int, default=32, help="different requests; sent in turns")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--rotel", type=Path, help="rotel-agent to compare with")
    arguments = parser.parse_args()
    bodies = make_bodies(arguments.mix, arguments.bodies)
    load = (bodies, max(1, arguments.spans // SPANS_A_REQUEST), arguments.in_flight)
    rounds = []
    for _ in range(arguments.rounds):
        measured = measure_receiver(*load)
        if arguments.rotel:
            measured |= measure_rotel(arguments.rotel, *load)
            for what in ("acknowledged", "queryable", "landed"):
                measured[f"{what}_to_rotel"] = round(measured[f"{what}_per_s"] / measured["rotel_per_s"], 3)
        print(json.dumps(measured), flush=True)
        rounds.append(measured)
    medians = {key: statistics.median(one[key] for one in rounds) for key in rounds[0]}
    described = {"mix": arguments.mix, "bytes_per_span": len(bodies[0]) // SPANS_A_REQUEST}
    print(json.dumps({**described, "in_flight": arguments.in_flight, "rounds": len(rounds), **medians}))


def measure_receiver(bodies: Sequence[bytes], num_requests: int, in_flight: int) -> Figures:
    """Send everything to a receiver on a new directory; then wait until all is queryable, and until all has landed."""
    with tempfile.TemporaryDirectory() as directory, receiver(Path(directory) / "data") as server:
        num_spans = num_requests * SPANS_A_REQUEST
        cpu_before, own_cpu_before = server.cpu_s, time.process_time()
        began = time.perf_counter()
        senders, acknowledged_s = send(server.grpc, bodies, num_requests, in_flight=in_flight)
        own_cpu_s = time.process_time() - own_cpu_before
        while count(server) < num_spans:
            time.sleep(0.02)
        queryable_s = time.perf_counter() - began
        wait_until_landed(server)
        landed_s = time.perf_counter() - began
        latencies = sorted(latency for sender in senders for latency in sender.latencies)
        return {
            "acknowledged_per_s": round(num_spans / acknowledged_s),
            "queryable_per_s": round(num_spans / queryable_s),
            "landed_per_s": round(num_spans / landed_s),
            "ack_p50_ms": round(latencies[len(latencies) // 2] * 1000, 1),
            "ack_p99_ms": round(latencies[int(len(latencies) * 0.99)] * 1000, 1),
            "refused": sum(sender.refused for sender in senders),
            "cpu_us_per_span": round((server.cpu_s - cpu_before) / num_spans * 1e6, 1),
            "generator_cpu_us_per_span": round(own_cpu_s / num_spans * 1e6, 1),
            "peak_memory_mb": server.memory_mb("VmHWM"),
            "stored_bytes_per_span": stored_bytes(Path(directory) / "data") // num_spans,
        }


def stored_bytes(data: Path) -> int:
    """Return the size of the day files and what stands beside them; the log is recycled and does not count."""
    return sum(path.stat().st_size for path in (data / "spans").iterdir())


def measure_rotel(agent: Path, bodies: Sequence[bytes], num_requests: int, in_flight: int) -> Figures:
    """Send the same load to Rotel, which drops it once it is parsed."""
    with rotel(agent) as server:
        cpu_before = server.cpu_s
        _, took_s = send(server.grpc, bodies, num_requests, in_flight=in_flight)
        num_spans = num_requests * SPANS_A_REQUEST
        return {
            "rotel_per_s": round(num_spans / took_s),
            "rotel_cpu_us_per_span": round((server.cpu_s - cpu_before) / num_spans * 1e6, 1),
        }


if __name__ == "__main__":
    main()
