"""What queries and ingest cost each other: point lookups of a trace, and landing, while the other runs.

    python -m benchmarks.ingest.queries --mix small --spans 400000

Three equal phases on one receiver that has the spans already: ingest alone, ingest with lookups (ten a second, by trace
id, of traces that arrived before), and ingest with lookups and heavy queries (two at once, again and again, each a sort
and an aggregate over every span). Lookups alone come first. The generator is a process of its own; it sends as fast as
it is answered, four requests in flight. A lookup is timed from the request to the last byte of its JSON.
"""

import argparse
import http.client
import json
import multiprocessing
import random
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks.ingest.load import SPANS_A_REQUEST, SPANS_A_TRACE, Sender, make_bodies, send, trace_id
from benchmarks.ingest.servers import Server, count, receiver, wait_until_landed

LOOKUPS_A_SECOND = 10
NUM_HEAVY = 2
HEAVY = (
    """
    select name, count(*) as n, max(length(attributes)) as longest, count(distinct trace_id) as traces
    from spans
    group by all
    order by n desc
    """,
    """
    select count(*) as n
    from (select row_number() over (partition by name order by end_ns desc, span_id) as r from spans)
    where r > 10
    """,
)


def main() -> None:
    """Run the phases and print them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mix", choices=["small", "llm"], default="small")
    parser.add_argument("--spans", type=int, default=400_000, help="stored before the first phase")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of a phase")
    arguments = parser.parse_args()
    num_stored = arguments.spans // SPANS_A_REQUEST
    bodies = make_bodies(arguments.mix, 16)
    with tempfile.TemporaryDirectory() as directory, receiver(Path(directory) / "data") as server:
        send(server.grpc, bodies, num_stored, in_flight=4)
        wait_until_landed(server)
        measured: dict[str, Any] = {"mix": arguments.mix, "stored_spans": num_stored * SPANS_A_REQUEST}
        measured["lookups_alone"] = lookups(server, num_stored, arguments.seconds / 2)
        first = num_stored + 1
        for phase, with_lookups, num_heavy in (("ingest", 0, 0), ("lookups", 1, 0), ("heavy", 1, NUM_HEAVY)):
            measured[phase], first = run_phase(server, arguments, first, num_stored, bool(with_lookups), num_heavy)
        print(json.dumps(measured, indent=1))


def run_phase(
    server: Server, arguments: argparse.Namespace, first: int, num_stored: int, with_lookups: bool, num_heavy: int
) -> tuple[dict[str, Any], int]:
    """Ingest for a while with or without queries beside it."""
    stop, sent = multiprocessing.Event(), multiprocessing.Value("i", first)
    generator = multiprocessing.Process(target=generate, args=(server.grpc, arguments.mix, sent, stop))
    before, cpu_before = count(server), server.cpu_s
    generator.start()
    while sent.value == first:
        time.sleep(0.01)
    began = time.perf_counter()
    num_before = sent.value
    heavy = Heavy(server, num_heavy)
    found = lookups(server, num_stored, arguments.seconds) if with_lookups else time.sleep(arguments.seconds)
    acknowledged = (sent.value - num_before) * SPANS_A_REQUEST
    took_s = time.perf_counter() - began
    num_heavy_done = heavy.stop()
    stop.set()
    generator.join()
    wait_until_landed(server)
    landed_s = time.perf_counter() - began
    result: dict[str, Any] = {
        "acknowledged_per_s": round(acknowledged / took_s),
        "landed_per_s": round((count(server) - before) / landed_s),
        "cpu_s": round(server.cpu_s - cpu_before, 1),
    }
    if found:
        result["lookups"] = found
    if num_heavy:
        result["heavy_queries"] = num_heavy_done
    return result, sent.value + 1


def generate(address: str, mix: str, sent: Any, stop: Any) -> None:  # noqa: ANN401 - multiprocessing's proxies
    """Send requests as fast as they are answered, until told to stop."""
    bodies = make_bodies(mix, 16)
    numbers, lock = iter(range(sent.value, 2**31)), threading.Lock()

    class Numbers:
        def __iter__(self) -> "Numbers":
            return self

        def __next__(self) -> int:
            if stop.is_set():
                raise StopIteration
            sent.value = number = next(numbers)
            return number

    senders = [Sender(address, bodies, Numbers(), lock) for _ in range(4)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.finish()


def ask(connection: http.client.HTTPConnection, sql: str, parameters: list[Any]) -> tuple[int, bytes]:
    """Ask for JSON over a connection that is kept."""
    connection.request("POST", "/v1/sql?format=json", json.dumps({"sql": sql, "parameters": parameters}))
    answer = connection.getresponse()
    return answer.status, answer.read()


def lookups(server: Server, num_stored: int, seconds: float) -> dict[str, Any]:
    """Look traces up at an even pace and return how long that took."""
    chance = random.Random(5)
    connection = http.client.HTTPConnection(server.http.removeprefix("http://"))
    latencies: list[float] = []
    began = time.perf_counter()
    for turn in range(int(seconds * LOOKUPS_A_SECOND)):
        time.sleep(max(0.0, began + turn / LOOKUPS_A_SECOND - time.perf_counter()))
        request, trace = chance.randrange(1, num_stored + 1), chance.randrange(SPANS_A_REQUEST // SPANS_A_TRACE)
        asked = time.perf_counter()
        status, answer = ask(connection, "select * from spans where trace_id = ?", [trace_id(request, trace)])
        latencies.append((time.perf_counter() - asked) * 1e3)
        if status != 200 or len(json.loads(answer)) != SPANS_A_TRACE:
            raise RuntimeError(f"a lookup answered {status}: {answer[:200]!r}")
    latencies.sort()
    return {
        "lookups": len(latencies),
        "p50_ms": round(latencies[len(latencies) // 2], 1),
        "p90_ms": round(latencies[int(len(latencies) * 0.9)], 1),
        "p99_ms": round(latencies[int(len(latencies) * 0.99)], 1),
    }


class Heavy:
    """Clients that run heavy queries one after the other, and wait a moment when they are asked to come again."""

    def __init__(self, server: Server, num_clients: int) -> None:
        self._server = server
        self._stopping = threading.Event()
        self._done = 0
        self._threads = [threading.Thread(target=self._run, args=(HEAVY[n % len(HEAVY)],)) for n in range(num_clients)]
        for thread in self._threads:
            thread.start()

    def _run(self, sql: str) -> None:
        connection = http.client.HTTPConnection(self._server.http.removeprefix("http://"))
        while not self._stopping.is_set():
            status, answer = ask(connection, sql, [])
            if status == 200:
                self._done += 1
            elif status == 503:
                time.sleep(0.5)
            else:
                raise RuntimeError(f"a heavy query answered {status}: {answer[:200]!r}")

    def stop(self) -> int:
        """End them and return how many queries were answered."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        return self._done


if __name__ == "__main__":
    main()
