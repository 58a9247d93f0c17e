"""A whole `spanloop serve run` as a process, and commands beside it."""

import contextlib
import json
import os
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serve.schema import read_server


@dataclass
class Served:
    """A running gateway."""

    data: Path
    url: str
    process: subprocess.Popen[bytes]
    log: Path
    collector: Any
    """A `Collector`, or whatever else has an endpoint."""

    trusted: ssl.SSLContext | None = None
    """Whom its callers believe, where it encrypts."""

    def ask(self, path: str = "chat/completions", **asked: Any) -> tuple[dict[str, Any], dict[str, str]]:
        """Ask for a completion; return the answer and the headers."""
        body = json.dumps({"model": "base:live", **asked}).encode()
        headers = {"Content-Type": "application/json"}
        with urllib.request.urlopen(
            urllib.request.Request(f"{self.url}/v1/{path}", body, headers), context=self.trusted
        ) as response:
            return json.loads(response.read()), dict(response.headers)

    def stream(self, path: str = "chat/completions", **request: Any) -> list[dict[str, Any]]:
        """Ask for a stream; return its chunks."""
        events = self._events(path, **request)
        assert events.pop() == "data: [DONE]"
        return [json.loads(event.removeprefix("data: ")) for event in events]

    def events(self, path: str, **request: Any) -> list[dict[str, Any]]:
        """Ask for a stream of named events; return what they carry."""
        return [json.loads(event.partition("data: ")[2]) for event in self._events(path, **request)]

    def _events(self, path: str, **asked: Any) -> list[str]:
        body = json.dumps({"model": "base:live", "stream": True, **asked}).encode()
        headers = {"Content-Type": "application/json"}
        with urllib.request.urlopen(
            urllib.request.Request(f"{self.url}/v1/{path}", body, headers), context=self.trusted
        ) as response:
            return response.read().decode().strip().split("\n\n")

    def span_of(self, response_id: str) -> dict[str, Any]:
        """Return the attributes of the span of one answer, once it arrived."""
        assert self.collector is not None
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if (span := self.collector.by_response_id().get(response_id)) is not None:
                return span.attributes
            time.sleep(0.05)
        raise AssertionError("the span never came")


@contextlib.contextmanager
def serving(
    data: Path, *arguments: str, collector: Any = None, timeout_s: float = 120, trusted: ssl.SSLContext | None = None
) -> Iterator[Served]:
    """Run `spanloop serve run` on a free port until the block ends."""
    log = data.parent / f"{data.name}.log"
    endpoint = "http://127.0.0.1:9" if collector is None else collector.endpoint
    command = [sys.executable, "-m", "spanloop", "serve", "run", "--data", str(data), "--listen", "127.0.0.1:0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--otlp-endpoint", endpoint, *arguments],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,  # a group of its own, as under a supervisor
        )
    try:
        url = wait_until_ready(data, process, log, timeout_s, trusted)
        yield Served(data, url, process, log, collector, trusted)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        finally:
            process.kill()
            process.wait()


def wait_until_ready(
    data: Path,
    process: subprocess.Popen[bytes],
    log: Path,
    timeout_s: float,
    trusted: ssl.SSLContext | None = None,
) -> str:
    """Return the gateway's URL once it says it is ready."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        server = read_server(data)
        if server is not None and server.pid == process.pid:
            with contextlib.suppress(urllib.error.URLError, OSError):
                with urllib.request.urlopen(f"{server.url}/readyz", timeout=5, context=trusted) as response:
                    assert response.status == 200
                return server.url
        time.sleep(0.1)
    raise AssertionError(f"not ready after {timeout_s:.0f} s: {log.read_text()}")
