"""The receiver beside the stores that agents' traces go to elsewhere, each in an environment of its own, in one run.

    python -m venv /tmp/phoenix && /tmp/phoenix/bin/pip install arize-phoenix==20.26.1
    python -m venv /tmp/agl && /tmp/agl/bin/pip install agentlightning==0.3.0
    python -m benchmarks.ingest.peers --phoenix /tmp/phoenix/bin/phoenix --agl /tmp/agl/bin/agl

Phoenix keeps its spans in SQLite and acknowledges before it has written them: what counts is the rows in its database,
over `--seconds` in which it always has spans waiting. Of the receiver it is spans landed. agentlightning's store keeps
its spans in memory and takes OTLP by HTTP alone, with ids of a rollout it knows: the same requests go to both by HTTP
and CPU time a span is compared; at the receiver it includes landing.
"""

import argparse
import contextlib
import json
import sqlite3
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.ingest.load import SPANS_A_REQUEST, make_bodies, numbered, send
from benchmarks.ingest.servers import Server, count, free_address, receiver, run, wait_until_landed

IN_FLIGHT = 4
PATIENCE_S = 120.0


def main() -> None:
    """Run what was asked for and print it as JSON, one line a peer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--phoenix", type=Path, help="the command `phoenix` of its environment")
    parser.add_argument("--agl", type=Path, help="the command `agl` of its environment")
    parser.add_argument("--mix", choices=["small", "llm"], default="small", help="what Phoenix and the receiver get")
    parser.add_argument("--seconds", type=float, default=40, help="how long Phoenix is watched")
    arguments = parser.parse_args()
    if arguments.phoenix:
        bodies = make_bodies(arguments.mix, 32)
        landed = landed_per_s(bodies, 400_000 if arguments.mix == "small" else 100_000)
        persisted = phoenix_per_s(arguments.phoenix, bodies, arguments.seconds)
        figures = {"mix": arguments.mix, "landed_per_s": round(landed), "phoenix_persisted_per_s": round(persisted, 1)}
        print(json.dumps({**figures, "ratio": round(landed / persisted)}), flush=True)
    if arguments.agl:
        print(json.dumps(compare_cpu(arguments.agl)))


def landed_per_s(bodies: Sequence[bytes], num_spans: int) -> float:
    """Return how many spans a second the receiver lands."""
    with tempfile.TemporaryDirectory() as directory, receiver(Path(directory) / "data") as server:
        num_requests = num_spans // SPANS_A_REQUEST
        began = time.perf_counter()
        send(server.grpc, bodies, num_requests, in_flight=IN_FLIGHT)
        wait_until_landed(server)
        return num_requests * SPANS_A_REQUEST / (time.perf_counter() - began)


def phoenix_per_s(command: Path, bodies: Sequence[bytes], seconds: float) -> float:
    """Return how many spans a second reach Phoenix's database while it has more of them waiting than that."""
    address, http = free_address(), free_address()
    with tempfile.TemporaryDirectory() as directory:
        environment = {
            "PHOENIX_WORKING_DIR": directory,
            "PHOENIX_HOST": "127.0.0.1",
            "PHOENIX_PORT": http.rpartition(":")[2],
            "PHOENIX_GRPC_PORT": address.rpartition(":")[2],
        }
        with run([str(command), "serve"], **environment):
            wait_for_http(f"http://{http}/healthz")
            num_requests = 40
            began = time.perf_counter()
            send(address, bodies, num_requests, in_flight=IN_FLIGHT)
            time.sleep(max(0.0, seconds - (time.perf_counter() - began)))
            took_s = time.perf_counter() - began
            with contextlib.closing(sqlite3.connect(f"file:{directory}/phoenix.db?mode=ro", uri=True)) as database:
                num_rows = int(database.execute("select count(*) from spans").fetchone()[0])
            if num_rows >= num_requests * SPANS_A_REQUEST:
                raise RuntimeError("Phoenix had nothing left to write: send it more, or watch it for less time")
            return num_rows / took_s


def compare_cpu(command: Path) -> dict[str, float]:
    """Send the same small requests by HTTP to agentlightning's store and to the receiver."""
    num_requests = 100
    num_spans = num_requests * SPANS_A_REQUEST
    address = free_address()
    host, _, port = address.rpartition(":")
    with run([str(command), "store", "--host", host, "--port", port]) as process:
        wait_for_http(f"http://{address}/v1/agl/health")
        store = Server(process.pid, "", f"http://{address}", 0.0)
        rollout = json.loads(post(f"{store.http}/v1/agl/rollouts", b'{"input": {}}', "application/json"))
        ids = {
            "agentlightning.rollout_id": rollout["rollout_id"],
            "agentlightning.attempt_id": rollout["attempt"]["attempt_id"],
        }
        bodies = make_bodies("small", 32, attributes_of_resource=ids)
        agl_cpu_s, agl_s = post_all(store, bodies, num_requests)
        wanted = json.dumps({"rollout_id": rollout["rollout_id"], "limit": 1}).encode()
        found = post(f"{store.http}/v1/agl/spans/search", wanted, "application/json")
        num_kept = json.loads(found)["total"]
    with tempfile.TemporaryDirectory() as directory, receiver(Path(directory) / "data") as server:
        cpu_before = server.cpu_s
        _, receiver_s = post_all(server, bodies, num_requests)
        wait_until_landed(server)
        receiver_cpu_s = server.cpu_s - cpu_before
        assert count(server) == num_spans
    return {
        "spans": num_spans,
        "agl_kept": num_kept,
        "agl_per_s": round(num_spans / agl_s),
        "agl_cpu_us_per_span": round(agl_cpu_s / num_spans * 1e6, 1),
        "receiver_per_s": round(num_spans / receiver_s),
        "receiver_cpu_us_per_span": round(receiver_cpu_s / num_spans * 1e6, 1),
        "cpu_ratio": round(agl_cpu_s / receiver_cpu_s, 1),
    }


def post_all(server: Server, bodies: Sequence[bytes], num_requests: int) -> tuple[float, float]:
    """Send requests by HTTP, some at once; return the CPU seconds the server took to its last answer, and the time."""

    def send_one(number: int) -> None:
        post(f"{server.http}/v1/traces", numbered(bodies[number % len(bodies)], number), "application/x-protobuf")

    cpu_before, began = server.cpu_s, time.perf_counter()
    with ThreadPoolExecutor(IN_FLIGHT) as threads:
        for _ in threads.map(send_one, range(1, num_requests + 1)):
            pass
    return server.cpu_s - cpu_before, time.perf_counter() - began


def post(url: str, body: bytes, content_type: str) -> bytes:
    """Post a body and return the answer's. Raises for a status that is not 2xx."""
    request = urllib.request.Request(url, data=body, headers={"Content-Type": content_type})
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:
        answer: bytes = response.read()
        return answer


def wait_for_http(url: str) -> None:
    """Return when a server answers."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


if __name__ == "__main__":
    main()
