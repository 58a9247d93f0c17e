"""What a soak soaks: a receiver, a gateway, agents that call, a program that sends spans, and what they were told."""

import contextlib
import http.client
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from benchmarks.soak.machine import Machine, build
from foundation.web.keys import Scope, create_key
from receiver.schema import connect
from serve.change.control import ask_running
from serve.schema import read_server
from tests.export_requests import span, traces
from tests.fakes import tiny_model
from tests.integration.receiver.processes import TRACES, Receiver, start
from tests.serving import tiny_checkpoint

SPANS_A_REQUEST = 50


@dataclass(frozen=True)
class Answer:
    """A call that was answered in full."""

    response_id: str
    version: str
    time_s: float


class World:
    """Everything that runs, and everything that was promised."""

    def __init__(self, root: Path, seed: int) -> None:
        self.root, self.data = root, root / "data"
        self.random = random.Random(seed)
        base = tiny_model(root / "base", seed=0)
        self.models = [base, *(tiny_checkpoint(root / f"night-{number}", seed=number) for number in (1, 2, 3))]
        self.keys = {
            name: create_key(self.data, name=name, project=project, scopes=[scope])
            for name, project, scope in (
                ("agents", "p", Scope.SERVE),
                ("loader", "p", Scope.INGEST),
                ("stranger", "q", Scope.QUERY),
            )
        }
        library = build(root)
        self.machines = {name: Machine(library, root / f"{name}.machine") for name in ("receiver", "gateway")}
        self.outcomes: Counter[int | str] = Counter()
        self.answers: list[Answer] = []
        self.acknowledged: set[int] = set()
        self.gateway_kills: list[float] = []
        self.days_on = 0
        """How far ahead the clock was at the latest day there is."""

        self.rss_mb: dict[str, list[int]] = {"receiver": [], "gateway": []}
        self.is_over = threading.Event()
        self._threads: list[threading.Thread] = []
        self.receiver: Receiver
        self.gateway: subprocess.Popen[bytes]

    # --- processes

    @contextlib.contextmanager
    def running(self, agents: int) -> Iterator[None]:
        """Run all of it for as long as the block does."""
        with self.machines["receiver"].under():
            self.receiver = start(self.data, log=self.root / "receiver.log")
        self.ports = ("--grpc", self.receiver.grpc, "--http", self.receiver.http.removeprefix("http://"))
        self.start_gateway()
        self.wait_until_served()
        work = [*(self._call for _ in range(agents)), self._send, self._measure]
        self._threads = [threading.Thread(target=each, args=(place,), daemon=True) for place, each in enumerate(work)]
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self.end_load()
            for process in (self.gateway, self.receiver.process):
                process.send_signal(signal.SIGCONT)
                process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(60)
                process.kill()

    def start_gateway(self) -> None:
        """Start the gateway, on the port it had."""
        running = read_server(self.data)
        listen = "127.0.0.1:0" if running is None else self.url.removeprefix("http://")
        arguments = ["serve", "run", "--data", str(self.data), "--model", str(self.models[0]), "--name", "base"]
        arguments += ["--engine", "embedded", "--listen", listen, "--otlp-endpoint", f"http://{self.receiver.grpc}"]
        with (self.root / "gateway.log").open("ab") as log, self.machines["gateway"].under():
            self.gateway = subprocess.Popen(
                [sys.executable, "-m", "spanloop", *arguments],
                stdout=log,
                stderr=log,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                start_new_session=True,
            )
        deadline = time.monotonic() + 120
        while (running := read_server(self.data)) is None or running.pid != self.gateway.pid:
            assert self.gateway.poll() is None, self.tail("gateway")
            assert time.monotonic() < deadline, "the gateway did not start"
            time.sleep(0.1)
        self.url = running.url

    def start_receiver(self) -> None:
        """Start the receiver where it was."""
        with self.machines["receiver"].under():
            self.receiver = start(self.data, *self.ports, log=self.root / "receiver.log")

    def engine_pid(self) -> int:
        """Return the engine's process."""
        for thread in Path(f"/proc/{self.gateway.pid}/task").iterdir():
            for child in (thread / "children").read_text().split():
                if b"serve.engines.embedded.server" in Path(f"/proc/{child}/cmdline").read_bytes():
                    return int(child)
        raise AssertionError("no engine")

    def start_what_ended(self) -> str:
        """Start again whatever a fault that failed left dead; return its names."""
        ended = []
        if self.receiver.process.poll() is not None:
            ended.append("receiver")
            self.start_receiver()
        if self.gateway.poll() is not None:
            ended.append("gateway")
            self.gateway_kills.append(time.monotonic())
            self.start_gateway()
        return ", ".join(ended)

    def read(self, name: str) -> str:
        """Return a log."""
        return (self.root / f"{name}.log").read_text(errors="replace")

    def tail(self, name: str) -> str:
        """Return the end of a log."""
        return self.read(name)[-1500:]

    def command(self, *arguments: str, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
        """Run a command on the data."""
        whole = [sys.executable, "-m", "spanloop", *arguments, "--data", str(self.data)]
        return subprocess.run(whole, capture_output=True, text=True, check=False, timeout=timeout_s)

    def status(self) -> dict[str, Any] | None:
        """Return what the gateway says of itself."""
        return ask_running(self.data, "status", {})

    # --- load

    def ask(self, *, key: str | None = None, timeout_s: float = 90, **request: Any) -> int | str:  # noqa: ANN401 - JSON
        """Call once as an agent; return the HTTP status or what happened without one."""
        body = {"model": "base", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 8, **request}
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key or self.keys['agents']}"}
        http_request = urllib.request.Request(f"{self.url}/v1/chat/completions", json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(http_request, timeout=timeout_s) as response:
                content = response.read().decode()
                version = response.headers["x-spanloop-policy-version"]
        except urllib.error.HTTPError as error:
            return error.code
        except (OSError, http.client.HTTPException):
            return "gone"
        if request.get("stream"):
            if not content.endswith("data: [DONE]\n\n"):
                return "cut"
            content = content.split("\n\n")[0].removeprefix("data: ")
        self.answers.append(Answer(json.loads(content)["id"], version, time.monotonic()))
        return 200

    def _call(self, place: int) -> None:
        while not self.is_over.is_set():
            outcome = self.ask(stream=place % 2 == 0, user=f"user-{self.random.randrange(50)}")
            self.outcomes[outcome] += 1
            self.is_over.wait(0.05 if outcome == 200 else 0.3)

    def _send(self, _: int) -> None:
        metadata = (("authorization", f"Bearer {self.keys['loader']}"),)
        number = 0
        while not self.is_over.is_set():
            numbers = range(number + 1, number + 1 + SPANS_A_REQUEST)
            number += SPANS_A_REQUEST
            body = traces(*(span(each) for each in numbers)).SerializeToString()
            try:
                with grpc.insecure_channel(self.receiver.grpc) as channel:
                    channel.unary_unary(TRACES)(body, timeout=10, metadata=metadata)
            except grpc.RpcError:
                self.outcomes["spans refused"] += 1
            else:
                self.acknowledged.update(numbers)
            self.is_over.wait(0.2)

    def _measure(self, _: int) -> None:
        while not self.is_over.is_set():
            for name, pid in (("receiver", self.receiver.process.pid), ("gateway", self.gateway.pid)):
                with contextlib.suppress(OSError, IndexError):
                    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
                    self.rss_mb[name].append(pages * os.sysconf("SC_PAGE_SIZE") >> 20)
            self.is_over.wait(5)

    def end_load(self) -> None:
        """Let nobody call or send any more."""
        self.is_over.set()
        for thread in self._threads:
            thread.join(120)

    # --- waiting and reading

    def wait_until_served(self, timeout_s: float = 150) -> float:
        """Wait until a call and an export go through; return how long that took."""
        began = time.monotonic()
        while self.ask(timeout_s=30) != 200 or not self._takes_spans():
            assert self.gateway.poll() is None, f"the gateway ended: {self.tail('gateway')}"
            assert time.monotonic() - began < timeout_s, f"not served after {timeout_s:.0f} s: {self.tail('gateway')}"
            time.sleep(0.3)
        return time.monotonic() - began

    def _takes_spans(self) -> bool:
        with contextlib.suppress(OSError):
            return self.receiver.get("/readyz")[0] == 200
        return False

    def wait_until_delivered(self, timeout_s: float = 180) -> None:
        """Wait until no span waits at the gateway, and the receiver has landed what it acknowledged."""
        deadline = time.monotonic() + timeout_s
        while (self.status() or {"num_spans_waiting": 1})["num_spans_waiting"] or self.count_stored() < len(
            self.acknowledged
        ):
            if time.monotonic() > deadline:
                return  # the figures say what is missing
            time.sleep(1)

    def count_stored(self) -> int:
        """Return how many of the acknowledged spans are stored."""
        rows = connect(self.data).query("select distinct span_id from spans where scope_name = 'tests'").to_pylist()
        return len(self.acknowledged & {int(row["span_id"], 16) for row in rows})

    def count_foreign_rows(self) -> int:
        """Return how many rows a key of another project sees."""
        body = json.dumps({"sql": "select count(*) as rows from spans"}).encode()
        headers = {"Authorization": f"Bearer {self.keys['stranger']}", "Content-Type": "application/json"}
        status, _, answer = self.receiver.post("/v1/sql?format=json", body, **headers)
        assert status == 200, answer
        return int(json.loads(answer)[0]["rows"])

    def count_tracebacks(self) -> int:
        """Return how many tracebacks the logs hold."""
        return sum(self.read(name).count("Traceback (most recent call last)") for name in ("gateway", "receiver"))
