"""Receiver, engine and gateway killed while agents call: at worst an agent is told to try again.

The engine is the embedded one on a tiny model. `RELIABILITY=long` kills each twenty times instead of once.
"""

import contextlib
import http.client
import json
import os
import signal
import statistics
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from otel_exporter.schema import ANSWERED_BY, POLICY_VERSION
from serve.change.control import ask_running
from serve.schema import read_registry, read_server, server_path
from tests.fakes import tiny_model
from tests.model_server import model_server
from tests.scale import times
from tests.served import Served, serving
from tests.serving import Collector, collector

pytestmark = [pytest.mark.integration, pytest.mark.long, pytest.mark.timeout(1800)]

KILLS = times(short=1, long=20)
RETRYABLE = {200, 503}
FIRST_RETRY_S = 0.8
"""The least the exporter waits before it tries again, and so what a call would take that waited for its export."""


@dataclass
class Load:
    """Agents that call one after another until told to stop, and what they got."""

    url: str
    outcomes: list[tuple[int | str, float]] = field(default_factory=list)
    """HTTP status, or what happened without one, and seconds taken. A stream that ended with an error counts as 503."""

    def ask(self, *, stream: bool, max_tokens: int = 8) -> int | str:
        """Ask once."""
        messages = [{"role": "user", "content": "hi"}]
        body = {"model": "base", "messages": messages, "max_tokens": max_tokens, "stream": stream}
        request = urllib.request.Request(
            f"{self.url}/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                content = response.read()
        except urllib.error.HTTPError as error:
            return error.code if error.headers["Retry-After"] or error.code != 503 else "503 without Retry-After"
        except (OSError, http.client.HTTPException):  # the gateway itself went away
            return "gone"
        if not stream:
            assert json.loads(content)["choices"][0]["message"]["role"] == "assistant"
            return 200
        return 200 if content.endswith(b"data: [DONE]\n\n") else 503 if b'"error"' in content else "cut"

    @contextlib.contextmanager
    def running(self, num_agents: int = 4) -> Iterator["Load"]:
        """Call from several agents, half of them streaming, while the block runs."""
        is_over = threading.Event()

        def agent(number: int) -> None:
            while not is_over.is_set():
                began = time.monotonic()
                outcome = self.ask(stream=number % 2 == 0)
                self.outcomes.append((outcome, time.monotonic() - began))
                if outcome != 200:
                    is_over.wait(0.05)

        agents = [threading.Thread(target=agent, args=(number,)) for number in range(num_agents)]
        for each in agents:
            each.start()
        try:
            yield self
        finally:
            is_over.set()
            for each in agents:
                each.join()

    def wait_for(self, num_answers: int) -> None:
        """Wait until so many more calls were answered."""
        start = len(self.answered)
        deadline = time.monotonic() + 90
        while len(self.answered) < start + num_answers:
            assert time.monotonic() < deadline, Counter(outcome for outcome, _ in self.outcomes)
            time.sleep(0.02)

    @property
    def answered(self) -> list[float]:
        """Seconds each call that was answered took."""
        return [seconds for outcome, seconds in list(self.outcomes) if outcome == 200]


def status(data: Path) -> dict[str, Any]:
    found = ask_running(data, "status", {})
    assert found is not None
    return found


def wait_until(is_so: Callable[[], bool], timeout_s: float = 60) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline, "it never came to be so"
        time.sleep(0.05)


def child_of(pid: int) -> int:
    """Return the process id of the engine a gateway started."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        for child in (thread / "children").read_text().split():
            if b"serve.engines.embedded.server" in Path(f"/proc/{child}/cmdline").read_bytes():
                return int(child)
    raise AssertionError("no engine")


@contextlib.contextmanager
def gateway(data: Path, model: Path, received: Collector) -> Iterator[Served]:
    own = ["--model", str(model), "--engine", "embedded", "--name", "base"]
    with serving(data, *own, collector=received) as served:
        yield served


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("models") / "base")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Iterator[Served]:
    with collector() as received, gateway(tmp_path_factory.mktemp("served") / "data", model, received) as served:
        yield served


def test_no_agent_waits_for_a_receiver_that_is_away(served: Served) -> None:
    """Every call is answered; afterwards each span has arrived, from disk where it waited there."""
    for _ in range(KILLS):
        load = Load(served.url)
        with load.running():
            load.wait_for(40)
            served.collector.stop()
            num_before = len(load.answered)
            load.wait_for(80)
            served.collector.start()
            load.wait_for(40)

        assert {outcome for outcome, _ in load.outcomes} == {200}
        assert statistics.median(load.answered[num_before : num_before + 80]) < FIRST_RETRY_S

    deadline = time.monotonic() + 40
    while (found := status(served.data))["num_spans_waiting"] > 0:
        assert time.monotonic() < deadline, found
        time.sleep(0.5)
    assert found["num_spans_exported"] == found["num_answered"]
    assert found["evidence_trouble"] is None
    assert len(served.collector.by_response_id()) == found["num_answered"]


def test_an_engine_that_is_killed_comes_back(served: Served) -> None:
    """Calls in flight fail in a way that can be retried, streams say that they broke off, and the rest is answered."""
    num_before = status(served.data)["num_answered"]
    load = Load(served.url)
    with load.running():
        for _ in range(KILLS):
            load.wait_for(20)
            os.kill(child_of(served.process.pid), signal.SIGKILL)
            load.wait_for(20)

    outcomes = Counter(outcome for outcome, _ in load.outcomes)
    assert set(outcomes) <= RETRYABLE, f"{outcomes} {served.log.read_text()}"
    assert outcomes[503] >= KILLS
    assert status(served.data)["num_answered"] == num_before + outcomes[200]


def test_with_a_hosted_model_behind_it_no_call_notices_that_the_engine_is_killed(tmp_path: Path, model: Path) -> None:
    """Whole answers and held streams come from the hosted model until the engine is back, and say so on their spans."""
    with collector() as received, model_server() as hosted, contextlib.ExitStack() as stack:
        own = ["--model", str(model), "--engine", "embedded", "--name", "base"]
        own += ["--fallback", hosted.url, "--fallback-model", "big-1", "--fallback-checks", "unparsed"]
        served = stack.enter_context(serving(tmp_path / "data", *own, collector=received))
        load = Load(served.url)
        with load.running():
            for _ in range(KILLS):
                wait_until(lambda: status(served.data)["is_ready"])
                load.wait_for(20)
                os.kill(child_of(served.process.pid), signal.SIGKILL)
                load.wait_for(20)

        assert {outcome for outcome, _ in load.outcomes} == {200}, served.log.read_text()
        assert 0 < status(served.data)["num_fallback"] == len(hosted.asked)
        wait_until(lambda: len(received.spans) == len(load.outcomes))
        by_whom = Counter(span.attributes[ANSWERED_BY] for span in received.spans)
        assert by_whom["hosted"] == len(hosted.asked)
        unnamed = [span for span in received.spans if POLICY_VERSION not in span.attributes]
        assert {span.attributes[ANSWERED_BY] for span in unnamed} == {"hosted"}
    print(f"{len(load.outcomes)} calls, {KILLS} kills, answered by {dict(by_whom)}; none failed")


def test_an_engine_that_hangs_is_replaced(served: Served) -> None:
    """Stopped, it answers nobody and does not end: within half a minute its calls get 503 and another is started."""
    running = read_server(served.data)
    assert running is not None
    stopped = child_of(running.pid)
    load = Load(running.url)
    with load.running():
        load.wait_for(10)
        os.kill(stopped, signal.SIGSTOP)
        began = time.monotonic()
        while is_running(stopped):
            assert time.monotonic() - began < 35, "nobody noticed"
            time.sleep(0.1)
        load.wait_for(10)

    outcomes = Counter(outcome for outcome, _ in load.outcomes)
    assert set(outcomes) == RETRYABLE, outcomes


def test_a_gateway_that_is_killed_starts_again(served: Served, model: Path) -> None:
    """Whoever waited sees the connection close; the next one serves what the registry says, and no engine is left."""
    running = served
    with contextlib.ExitStack() as stack:
        for _ in range(KILLS):
            before = read_registry(served.data)
            engine = child_of(running.process.pid)
            load = Load(running.url)
            with load.running():
                load.wait_for(20)
                running.process.kill()
                running.process.wait()
                time.sleep(0.2)

            assert {outcome for outcome, _ in load.outcomes} <= {200, "gone", "cut"}
            assert read_registry(served.data) == before
            assert ask_running(served.data, "status", {}) is None
            deadline = time.monotonic() + 20
            while is_running(engine):
                assert time.monotonic() < deadline, "the engine outlived its gateway"
                time.sleep(0.05)
            running = stack.enter_context(gateway(served.data, model, served.collector))
            answer, _ = running.ask(messages=[{"role": "user", "content": "hi"}], max_tokens=2)
            assert running.span_of(answer["id"])
        engine = child_of(running.process.pid)
    assert running.process.returncode == 0, running.log.read_text()
    assert not is_running(engine)
    assert not server_path(served.data).exists()


def test_a_signal_to_the_whole_group_ends_answers_first(tmp_path: Path, model: Path) -> None:
    """As a terminal sends it, or a supervisor without `KillMode=mixed`: the engine hears of it from the gateway."""
    with collector() as received, gateway(tmp_path / "data", model, received) as served:
        answers: list[int | str] = []
        load = Load(served.url)
        asking = [
            threading.Thread(
                target=lambda stream: answers.append(load.ask(max_tokens=1500, stream=stream)), args=(each,)
            )
            for each in (False, True)
        ]
        for each in asking:
            each.start()
        while status(served.data)["num_in_flight"] < len(asking):
            time.sleep(0.02)
        os.killpg(served.process.pid, signal.SIGTERM)
        for each in asking:
            each.join()
        served.process.wait(60)

    assert answers == [200, 200], served.log.read_text()
    assert len(received.by_response_id()) == len(asking)


def is_running(pid: int) -> bool:
    """Tell whether a process is there and not merely waiting to be forgotten."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() != b""
    except (FileNotFoundError, ProcessLookupError):
        return False
