"""Counts what arrives, once, from real clients whose receiver is killed and restarted while they send.

    make interop

OpenTelemetry JS over HTTP/JSON and HTTP/protobuf, OpenTelemetry Python over gRPC and HTTP, and Rotel, a collector in
Rust, in front of the receiver over gRPC and HTTP. What they need is installed from npm and PyPI into a scratch
directory, in versions pinned here and in `package.json`; without node, npm or network this fails, it does not skip.

Each client sends 600 spans over six seconds. After two the receiver is killed with SIGKILL; it is down for another and
starts again on the same ports and the same directory. A row is printed for each client; status 1 when one lacks a span
or has one twice.
"""

import argparse
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import grpc

from receiver.schema import connect
from tests.export_requests import span, traces
from tests.integration.receiver.processes import TRACES, Receiver, start

HERE = Path(__file__).parent
ROTEL = "0.0.1a15"
NUM_SPANS = 600
KILL_AFTER_S, DOWN_S = 2.0, 1.0
PATIENCE_S = 90.0

PYTHON_CLIENT = """
import sys, time
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
protocol, grpc_address, http_url, count = sys.argv[1:]
if protocol == "grpc":
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    exporter = OTLPSpanExporter(grpc_address, insecure=True)
else:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    exporter = OTLPSpanExporter(http_url + "/v1/traces")
provider = TracerProvider(resource=Resource({"service.name": "python-" + protocol}))
provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=100, max_queue_size=100_000))
tracer = provider.get_tracer("interop", "1.0")
for number in range(int(count)):
    with tracer.start_as_current_span(f"span {number}", attributes={"number": number}) as span:
        span.add_event("noted")
    time.sleep(0.01)
provider.shutdown()
"""


@dataclass(frozen=True)
class Ports:
    """Addresses a receiver keeps through its restart."""

    grpc: str
    http: str

    @property
    def url(self) -> str:
        """Where OTLP/HTTP is spoken."""
        return f"http://{self.http}"


@dataclass(frozen=True)
class Row:
    """What became of one client's spans."""

    client: str
    sent: int
    stored: int
    distinct: int
    took_s: float

    @property
    def is_whole(self) -> bool:
        """Every span is there, once."""
        return self.sent == self.stored == self.distinct


def main() -> None:
    """Install the clients, run each, print the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scratch", type=Path, default=Path("build/interop"), help="where the clients are installed")
    scratch = parser.parse_args().scratch.absolute()
    javascript, rotel = install_javascript(scratch / "js"), install_rotel(scratch / "rotel")
    clients: dict[str, Callable[[Ports], None]] = {
        "OpenTelemetry JS, HTTP/JSON": lambda ports: run("node", javascript, "json", ports.url, NUM_SPANS),
        "OpenTelemetry JS, HTTP/protobuf": lambda ports: run("node", javascript, "protobuf", ports.url, NUM_SPANS),
        "OpenTelemetry Python, gRPC": lambda ports: python("grpc", ports),
        "OpenTelemetry Python, HTTP/protobuf": lambda ports: python("http", ports),
        "Rotel in front, gRPC": lambda ports: through_rotel(rotel, "grpc", f"http://{ports.grpc}"),
        "Rotel in front, HTTP/protobuf": lambda ports: through_rotel(rotel, "http", ports.url),
    }
    rows = []
    for name, send in clients.items():
        with tempfile.TemporaryDirectory() as directory:
            rows.append(through_a_kill(name, send, Path(directory) / "data"))
        sys.stdout.write(json.dumps(asdict(rows[-1])) + "\n")
        sys.stdout.flush()
    if not all(row.is_whole for row in rows):
        raise SystemExit("not every span arrived once")


def run(*command: object) -> None:
    """Run a command to its successful end."""
    subprocess.run([str(part) for part in command], check=True, timeout=600)


def python(protocol: str, ports: Ports) -> None:
    """Send with OpenTelemetry Python's stock exporters."""
    run(sys.executable, "-c", PYTHON_CLIENT, protocol, ports.grpc, ports.url, NUM_SPANS)


def install_javascript(directory: Path) -> Path:
    """Install OpenTelemetry JS and return the client's script beside it."""
    directory.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "client.mjs"):
        shutil.copy(HERE / name, directory / name)
    run("npm", "install", "--prefix", directory, "--no-audit", "--no-fund", "--silent")
    return directory / "client.mjs"


def install_rotel(directory: Path) -> Path:
    """Install Rotel into an environment of its own and return its binary."""
    if not (directory / "bin" / "python").exists():
        run(sys.executable, "-m", "venv", directory)
    run(directory / "bin" / "python", "-m", "pip", "install", "--quiet", "--pre", f"rotel=={ROTEL}")
    return next(directory.glob("lib/python*/site-packages/rotel/rotel-agent"))


def through_rotel(rotel: Path, protocol: str, endpoint: str) -> None:
    """Send to Rotel, which acknowledges at once and hands on to the receiver as that comes and goes."""
    own = Ports(free_address(), free_address())
    command = [str(rotel), "start", "--otlp-grpc-endpoint", own.grpc, "--otlp-http-endpoint", own.http]
    command += ["--exporter", "otlp", "--otlp-exporter-endpoint", endpoint, "--otlp-exporter-protocol", protocol]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as agent:
        try:
            with grpc.insecure_channel(own.grpc) as channel:
                grpc.channel_ready_future(channel).result(timeout=20)
                export = channel.unary_unary(TRACES)
                for first in range(1, NUM_SPANS + 1, 10):
                    body = traces(*(span(number) for number in range(first, first + 10))).SerializeToString()
                    export(body, timeout=20, wait_for_ready=True)
                    time.sleep(0.1)
            time.sleep(15)  # it tries again with growing pauses
        finally:
            agent.terminate()
            agent.wait(timeout=30)


def through_a_kill(name: str, send: Callable[[Ports], None], data: Path) -> Row:
    """Run a client while its receiver is killed and started again, and count what is stored at the end."""
    ports = Ports(free_address(), free_address())
    flags = ("--grpc", ports.grpc, "--http", ports.http)
    receiver = start(data, *flags)
    failures: list[Exception] = []

    def client() -> None:
        try:
            send(ports)
        except Exception as error:  # noqa: BLE001 - told to the one who waits
            failures.append(error)

    began = time.monotonic()
    sending = threading.Thread(target=client)
    sending.start()
    time.sleep(KILL_AFTER_S)
    receiver.kill()
    time.sleep(DOWN_S)
    receiver = start(data, *flags)
    sending.join()
    stop(receiver)
    if failures:
        raise failures[0]
    reader = connect(data)
    try:
        (row,) = reader.query("select count(*) as n, count(distinct span_id) as ids from spans").to_pylist()
    finally:
        reader.close()
    return Row(name, NUM_SPANS, row["n"], row["ids"], round(time.monotonic() - began, 1))


def stop(receiver: Receiver) -> None:
    """End a receiver in order."""
    receiver.process.terminate()
    receiver.process.wait(timeout=PATIENCE_S)


def free_address() -> str:
    """Return an address of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


if __name__ == "__main__":
    main()
