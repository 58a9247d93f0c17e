"""How many spans a second the receiver acknowledges, and how many it makes queryable and lands.

    python benchmarks/ingest.py --mix small --spans 600000 --in-flight 16

With `--rotel PATH` the same load then goes to Rotel, a collector in Rust that here keeps nothing, and the ratio of the
receiver's landed rate to its rate is reported. To have it, outside this project's environment:

    python -m venv /tmp/rotel && /tmp/rotel/bin/pip install --pre rotel==0.0.1a15
    python benchmarks/ingest.py --rotel /tmp/rotel/lib/python3.11/site-packages/rotel/rotel-agent

The receiver, this generator and its queries are separate processes on one machine. Requests of 512 spans are built and
serialised before the clock starts; only the ids are patched per send, so that every span is new.
"""

import argparse
import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

SPANS_A_REQUEST = 512
EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
MARK = b"\xaa\xaa\xaa\xaa\xaa\xaa\xaa\xaa"
"""First half of every trace id and span id of the template; each send replaces it by a number of its own."""


def template(mix: str) -> bytes:
    """Return one serialised request: `small` 20 attributes, about 1 KB a span; `llm` 4 to 16 KB of messages."""
    request = ExportTraceServiceRequest()
    resource_spans = request.resource_spans.add()
    resource_spans.resource.attributes.append(KeyValue(key="service.name", value=AnyValue(string_value="bench")))
    scope = resource_spans.scope_spans.add()
    scope.scope.name = "bench"
    for number in range(SPANS_A_REQUEST):
        span = scope.spans.add(
            trace_id=MARK + (number // 16).to_bytes(8, "big"),
            span_id=MARK[:4] + number.to_bytes(4, "big"),
            name=f"operation {number % 7}",
            kind=1 + number % 5,
            start_time_unix_nano=1_760_000_000_000_000_000 + number,
            end_time_unix_nano=1_760_000_001_000_000_000 + number,
        )
        for index in range(20):
            value = AnyValue(int_value=number * index) if index % 3 == 0 else AnyValue(string_value=f"{number:08x}" * 3)
            span.attributes.append(KeyValue(key=f"app.attribute.{index}", value=value))
        if mix == "llm":
            text = " ".join(f"word{(number * 7919 + i * 104729) % 9973}" for i in range(400 + number % 4 * 400))
            messages = json.dumps([{"role": "user", "parts": [{"type": "text", "content": text}]}])
            span.attributes.append(KeyValue(key="gen_ai.input.messages", value=AnyValue(string_value=messages)))
    return request.SerializeToString()


class Sender(threading.Thread):
    """Keeps one request in flight."""

    def __init__(self, address: str, body: bytes, numbers: Iterator[int], lock: threading.Lock) -> None:
        super().__init__()
        self.latencies: list[float] = []
        self.refused = 0
        self._address, self._body, self._numbers, self._lock = address, body, numbers, lock

    def run(self) -> None:
        """Send until the numbers run out."""
        with grpc.insecure_channel(self._address, options=[("grpc.max_send_message_length", 1 << 28)]) as channel:
            export = channel.unary_unary(EXPORT)
            while True:
                with self._lock:
                    number = next(self._numbers, None)
                if number is None:
                    return
                # Four bytes tell the requests apart, in trace ids and in span ids alike.
                body = self._body.replace(MARK[:4], number.to_bytes(4, "big"))
                began = time.perf_counter()
                while True:
                    try:
                        export(body, timeout=60)
                        break
                    except grpc.RpcError as error:
                        if error.code() is not grpc.StatusCode.UNAVAILABLE:
                            raise
                        self.refused += 1
                        time.sleep(1)
                self.latencies.append(time.perf_counter() - began)


def count(http: str) -> int:
    """Return how many spans queries see."""
    request = urllib.request.Request(f"{http}/v1/sql?format=json", data=b'{"sql": "select count(*) as n from spans"}')
    with urllib.request.urlopen(request) as response:
        return json.load(response)[0]["n"]


def backlog(http: str) -> int:
    """Return the bytes taken and not yet landed."""
    with urllib.request.urlopen(f"{http}/metrics") as response:
        lines = response.read().decode().splitlines()
    return int(next(line for line in lines if line.startswith("spanloop_receiver_backlog_bytes ")).split()[1])


def main() -> None:
    """Run one measurement and print it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mix", choices=["small", "llm"], default="small")
    parser.add_argument("--spans", type=int, default=200_000)
    parser.add_argument("--in-flight", type=int, default=4)
    parser.add_argument("--rotel", type=Path, help="rotel-agent to compare with")
    arguments = parser.parse_args()
    measured = measure_receiver(arguments)
    if arguments.rotel:
        peer = measure_rotel(arguments)
        measured |= peer
        measured["landed_to_rotel"] = round(measured["landed_per_s"] / peer["rotel_acknowledged_per_s"], 2)
        measured["queryable_to_rotel"] = round(measured["queryable_per_s"] / peer["rotel_acknowledged_per_s"], 2)
    print(json.dumps(measured))


def measure_receiver(arguments: argparse.Namespace) -> dict[str, Any]:
    """Start a receiver on a new directory, measure it and stop it."""
    with tempfile.TemporaryDirectory() as directory:
        data = Path(directory) / "data"
        command = [sys.executable, "-m", "spanloop", "receiver", "run", "--data", str(data)]
        with subprocess.Popen([*command, "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"]) as receiver:
            try:
                while not (data / "receiver.json").exists():
                    time.sleep(0.05)
                return measure(json.loads((data / "receiver.json").read_bytes()), arguments, data)
            finally:
                receiver.terminate()


def measure_rotel(arguments: argparse.Namespace) -> dict[str, Any]:
    """Send the same load to Rotel, which drops it once it is parsed."""
    with socket.socket() as grpc_port, socket.socket() as http_port:
        for port in (grpc_port, http_port):
            port.bind(("127.0.0.1", 0))
        address, http = (f"127.0.0.1:{port.getsockname()[1]}" for port in (grpc_port, http_port))
    command = [arguments.rotel, "start", "--exporter", "blackhole", "--otlp-grpc-endpoint", address]
    command += ["--otlp-http-endpoint", http, "--otlp-grpc-max-recv-msg-size-mib", "64"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as rotel:
        try:
            with grpc.insecure_channel(address) as channel:
                grpc.channel_ready_future(channel).result(timeout=20)
            cpu_before = cpu_seconds(rotel.pid)
            senders, took_s = send(address, arguments)
            num_spans = sum(len(sender.latencies) for sender in senders) * SPANS_A_REQUEST
            return {
                "rotel_acknowledged_per_s": round(num_spans / took_s),
                "rotel_cpu_us_per_span": round((cpu_seconds(rotel.pid) - cpu_before) / num_spans * 1e6, 1),
            }
        finally:
            rotel.terminate()


def send(address: str, arguments: argparse.Namespace) -> tuple[list[Sender], float]:
    """Send the whole load and return who sent it and how long it took."""
    body = template(arguments.mix)
    numbers, lock = iter(range(1, arguments.spans // SPANS_A_REQUEST + 1)), threading.Lock()
    senders = [Sender(address, body, numbers, lock) for _ in range(arguments.in_flight)]
    began = time.perf_counter()
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    return senders, time.perf_counter() - began


def measure(where: dict[str, str], arguments: argparse.Namespace, data: Path) -> dict[str, Any]:
    """Send everything, then wait until all of it is queryable and until all of it has landed."""
    num_spans = arguments.spans // SPANS_A_REQUEST * SPANS_A_REQUEST
    cpu_before = cpu_seconds(int(where["pid"]))
    began = time.perf_counter()
    senders, acknowledged_s = send(where["grpc"], arguments)
    while count(where["http"]) < num_spans:
        time.sleep(0.05)
    queryable_s = time.perf_counter() - began
    while backlog(where["http"]) > 0:
        time.sleep(0.05)
    landed_s = time.perf_counter() - began
    cpu_s = cpu_seconds(int(where["pid"])) - cpu_before
    latencies = sorted(latency for sender in senders for latency in sender.latencies)
    size = sum(path.stat().st_size for path in (data / "spans").iterdir())
    return {
        "mix": arguments.mix,
        "spans": num_spans,
        "bytes_per_span": len(template(arguments.mix)) // SPANS_A_REQUEST,
        "in_flight": arguments.in_flight,
        "acknowledged_per_s": round(num_spans / acknowledged_s),
        "queryable_per_s": round(num_spans / queryable_s),
        "landed_per_s": round(num_spans / landed_s),
        "ack_p50_ms": round(latencies[len(latencies) // 2] * 1000, 1),
        "ack_p99_ms": round(latencies[int(len(latencies) * 0.99)] * 1000, 1),
        "refused": sum(sender.refused for sender in senders),
        "receiver_cpu_us_per_span": round(cpu_s / num_spans * 1e6, 1),
        "receiver_rss_mb": resident_mb(int(where["pid"])),
        "stored_bytes_per_span": size // num_spans,
        "generator_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def cpu_seconds(pid: int) -> float:
    """Return the CPU time a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mb(pid: int) -> int:
    """Return the largest memory a process has had resident, in MiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) // 1024


if __name__ == "__main__":
    main()
