"""Servers the ingest benchmarks measure, as processes of their own, and what they use of the machine."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc


@dataclass(frozen=True)
class Server:
    """One that runs."""

    pid: int
    grpc: str
    """Address for OTLP/gRPC."""
    http: str
    """URL for OTLP/HTTP, SQL and metrics."""
    ready_s: float
    """Seconds from the start of its process until it said that it was ready."""

    @property
    def cpu_s(self) -> float:
        """CPU seconds used so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_mb(self, what: str = "VmRSS") -> int:
        """Return resident memory in MiB: `VmRSS` now, `VmHWM` the most so far."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith(what)).split()[1]) // 1024


@contextlib.contextmanager
def receiver(data: Path, *flags: str) -> Iterator[Server]:
    """Run a receiver on a directory until the block ends, which it does in order."""
    command = [sys.executable, "-m", "spanloop", "receiver", "run", "--data", str(data)]
    command += ["--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", *flags]
    announcement = data / "receiver.json"
    announcement.unlink(missing_ok=True)
    began = time.perf_counter()
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            while not announcement.exists():
                if process.poll() is not None:
                    raise RuntimeError(f"the receiver ended with status {process.returncode}")
                time.sleep(0.01)
            ready_s = time.perf_counter() - began
            where = json.loads(announcement.read_bytes())
            yield Server(process.pid, where["grpc"], where["http"], ready_s)
        finally:
            process.terminate()


@contextlib.contextmanager
def rotel(agent: Path) -> Iterator[Server]:
    """Run Rotel with an exporter that drops everything once it is parsed."""
    address, http = free_address(), free_address()
    command = [str(agent), "start", "--exporter", "blackhole", "--otlp-grpc-endpoint", address]
    command += ["--otlp-http-endpoint", http, "--otlp-grpc-max-recv-msg-size-mib", "64"]
    with run(command) as process:
        began = time.perf_counter()
        with grpc.insecure_channel(address) as channel:
            grpc.channel_ready_future(channel).result(timeout=20)
        yield Server(process.pid, address, f"http://{http}", time.perf_counter() - began)


@contextlib.contextmanager
def run(command: list[str], **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command, its output thrown away, until the block ends."""
    silent = subprocess.DEVNULL
    with subprocess.Popen(command, stdout=silent, stderr=silent, env={**os.environ, **environment}) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def free_address() -> str:
    """Return an address of this machine that nobody listens on."""
    with socket.socket() as port:
        port.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{port.getsockname()[1]}"


def query(server: Server, sql: str) -> list[dict[str, object]]:
    """Return the rows of a query to the receiver."""
    request = urllib.request.Request(f"{server.http}/v1/sql?format=json", data=json.dumps({"sql": sql}).encode())
    with urllib.request.urlopen(request) as response:
        rows: list[dict[str, object]] = json.load(response)
        return rows


def count(server: Server) -> int:
    """Return how many spans queries see."""
    return int(str(query(server, "select count(*) as n from spans")[0]["n"]))


def backlog_bytes(server: Server) -> int:
    """Return the bytes the receiver has taken and not yet landed."""
    with urllib.request.urlopen(f"{server.http}/metrics") as response:
        lines = response.read().decode().splitlines()
    return int(next(line for line in lines if line.startswith("spanloop_receiver_backlog_bytes ")).split()[1])


def wait_until_landed(server: Server) -> None:
    """Return when everything the receiver took is in its day file."""
    while backlog_bytes(server) > 0:
        time.sleep(0.02)
