"""What the tracker costs an agent: its import, the CPU of a call, and latency while the receiver is away.

    python -m benchmarks.tracker [--calls 1000 --rounds 7]

The import is the CPU of a new process that has loaded httpx, as every agent it listens to has, from compiled modules.
A call is of 2 kB and answered at once by a transport in the process, so that nothing but httpx's own work is beside
ours; CPU of the whole process, our thread's included, paired: with and without take turns, medians. Latency is that of
the same call, 99th percentile, against a receiver that answers, and one that is down, slow (1 s) or hung.
"""

import argparse
import json
import multiprocessing
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.queues import Queue

import httpx

from otel_exporter import tracker
from otel_exporter.tracking import outbox

ASKED = json.dumps(
    {"model": "qwen3-8b", "messages": [{"role": "user", "content": "where is my parcel " * 100}]}
).encode()
ANSWER = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "on its way " * 40}}]}
IMPORT = (
    "import time, httpx; began = time.process_time(); import otel_exporter.tracker; print(time.process_time() - began)"
)


def import_ms() -> float:
    """Return the CPU of the import, median of nine processes; the first compiles."""
    with tempfile.TemporaryDirectory() as compiled:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": compiled}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        run = [sys.executable, "-c", IMPORT]
        times = [float(subprocess.run(run, env=environment, check=True, capture_output=True).stdout) for _ in range(10)]
    return statistics.median(times[1:]) * 1e3


def serve(ready: "Queue[int]", wait_s: float) -> None:
    """Answer every export after a while."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            time.sleep(wait_s)
            self.send_response(200)
            self.end_headers()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    ready.put(server.server_port)
    server.serve_forever()


@contextmanager
def receiver(wait_s: float) -> "Iterator[str]":
    """Have a receiver in a process of its own."""
    ready: Queue[int] = multiprocessing.Queue()
    process = multiprocessing.Process(target=serve, args=(ready, wait_s), daemon=True)
    process.start()
    yield f"http://127.0.0.1:{ready.get()}"
    process.kill()
    process.join()


@contextmanager
def hung() -> "Iterator[str]":
    """Take connections and say nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def down() -> "Iterator[str]":
    """Have an address nobody listens at."""
    with hung() as address:
        pass
    yield address


def latencies(client: httpx.Client, num_calls: int) -> list[float]:
    """Return the seconds of each of some calls."""
    taken = []
    for _ in range(num_calls):
        began = time.perf_counter()
        client.post("http://model.example/v1/chat/completions", content=ASKED).json()
        taken.append(time.perf_counter() - began)
    return taken


def client(*, is_tracked: bool) -> httpx.Client:
    """Return a client whose model answers at once."""
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json=ANSWER))
    plain = httpx.Client(transport=transport)
    return tracker.track(plain) if is_tracked else plain


def send_to(endpoint: str) -> None:
    """Have a new sender, to this address."""
    os.environ["SPANLOOP_EXPORTER_OTLP_ENDPOINT"] = endpoint
    outbox._shared = None  # noqa: SLF001 - a process has one for all its life


def p99_us(one: httpx.Client, num_calls: int) -> float:
    """Return the 99th percentile of a call's time."""
    return statistics.quantiles(latencies(one, num_calls), n=100)[-1] * 1e6


def main() -> None:
    """Print the three."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    sys.stdout.write(f"import beside httpx's own       {import_ms():7.1f} ms of CPU\n")
    plain, tracked = client(is_tracked=False), client(is_tracked=True)
    own, added = [], []
    with receiver(0) as endpoint:
        send_to(endpoint)
        for _ in range(arguments.rounds):
            began = time.process_time()
            latencies(plain, arguments.calls)
            between = time.process_time()
            latencies(tracked, arguments.calls)
            tracker.flush(10)
            own.append(between - began)
            added.append(time.process_time() - between - own[-1])
    for name, times in (("httpx's own for a call", own), ("beside it, sending included", added)):
        sys.stdout.write(f"{name:31} {statistics.median(times) / arguments.calls * 1e6:7.1f} us of CPU\n")
    receivers = {"answers": receiver(0), "is down": down(), "takes a second": receiver(1), "hangs": hung()}
    with ExitStack() as stack:
        endpoints = {name: stack.enter_context(one) for name, one in receivers.items()}
        taken: dict[str, list[float]] = {"without the tracker": [], **{name: [] for name in endpoints}}
        for _ in range(arguments.rounds):
            taken["without the tracker"].append(p99_us(plain, arguments.calls))
            for name, endpoint in endpoints.items():
                send_to(endpoint)
                taken[name].append(p99_us(tracked, arguments.calls))
        for name, times in taken.items():
            sys.stdout.write(f"p99 of a call, {name:19} {statistics.median(times):7.0f} us\n")
    sys.stdout.flush()
    os._exit(0)  # what still waits for a receiver that hangs is not waited for


if __name__ == "__main__":
    main()
