"""A receiver as its own process, on free ports, for as long as a block runs."""

import contextlib
import json
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

COMMAND = [sys.executable, "-m", "spanloop"]
TRACES = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
LOGS = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"


@dataclass
class Receiver:
    """A running receiver: where it listens and its process."""

    process: subprocess.Popen[bytes]
    grpc: str
    http: str
    token: str
    log: Path

    def export(self, body: bytes, method: str = TRACES, timeout_s: float = 10) -> bytes:
        with grpc.insecure_channel(self.grpc) as channel:
            answer: bytes = channel.unary_unary(method)(body, timeout=timeout_s)
            return answer

    def post(self, path: str, body: bytes, **headers: str) -> tuple[int, dict[str, str], bytes]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(self.http + path, data=body, headers=named)
        with contextlib.closing(_open(request)) as response:
            return response.status, dict(response.headers), response.read()

    def get(self, path: str) -> tuple[int, dict[str, str], bytes]:
        with contextlib.closing(_open(urllib.request.Request(self.http + path))) as response:
            return response.status, dict(response.headers), response.read()

    def sql(self, statement: str) -> Any:
        body = json.dumps({"sql": statement}).encode()
        status, _, answer = self.post("/v1/sql?format=json", body, Content_Type="application/json")
        assert status == 200, answer
        return json.loads(answer)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def _open(request: urllib.request.Request) -> Any:
    try:
        return urllib.request.urlopen(request, timeout=30)
    except urllib.error.HTTPError as error:
        return error


def start(data: Path, *arguments: str, log: Path | None = None) -> Receiver:
    data.mkdir(parents=True, exist_ok=True)
    log = log or data.with_suffix(".log")
    ports = [part for flag in ("--grpc", "--http") if flag not in arguments for part in (flag, "127.0.0.1:0")]
    with log.open("ab") as output:
        process = subprocess.Popen(
            [
                *COMMAND,
                "receiver",
                "run",
                "--data",
                str(data),
                *ports,
                *arguments,
            ],
            stdout=output,
            stderr=output,
        )
    announcement = data / "receiver.json"
    deadline = time.monotonic() + 150
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, ValueError):
            where = json.loads(announcement.read_bytes())
            if where["pid"] == process.pid:
                return Receiver(process, where["grpc"], where["http"], where["token"], log)
        assert process.poll() is None, log.read_text()
        time.sleep(0.02)
    process.kill()
    raise AssertionError(log.read_text())


@contextlib.contextmanager
def running(data: Path, *arguments: str, log: Path | None = None) -> Iterator[Receiver]:
    receiver = start(data, *arguments, log=log)
    try:
        yield receiver
    finally:
        if receiver.process.poll() is None:
            receiver.process.send_signal(signal.SIGTERM)
            assert receiver.process.wait(timeout=120) == 0, receiver.log.read_text()
