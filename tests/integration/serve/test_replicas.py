"""A gateway in front of two real vLLMs that it did not start: who gets which call, and what when one dies."""

import contextlib
import importlib.util
import os
import re
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from serve.engines.vllm import VllmEngine
from spanloop.processes import free_port
from tests.scale import IS_LONG
from tests.served import Served, serving
from tests.serving import collector

pytestmark = [
    pytest.mark.long,
    pytest.mark.integration,
    pytest.mark.vllm,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed: make setup-vllm"),
    pytest.mark.skipif(not IS_LONG, reason="starts vLLM three times: make soak-serve"),
]

POLICY = Path(__file__).parents[3] / "examples" / "calculator" / "policy"
KEY = "sk-replicas"


@dataclass
class Vllm:
    """One vLLM on a port, asking for a key."""

    port: int
    log: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        engine = VllmEngine(POLICY, "served", self.log)
        command = engine.command()
        place = command.index("--uds")
        command[place : place + 2] = ["--host", "127.0.0.1", "--port", str(self.port), "--api-key", KEY]
        environment = {**os.environ, **engine.environment(), "OMP_NUM_THREADS": "1"}
        engine.release()
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                command, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )

    def kill(self) -> None:
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def num_answered(self) -> int:
        """Count the calls it has finished, as its own metrics have it."""
        with urllib.request.urlopen(f"{self.url}/metrics") as response:
            text = response.read().decode()
        return sum(
            int(float(value)) for value in re.findall(r"^vllm:request_success_total\{.*\} (\S+)$", text, re.MULTILINE)
        )


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Vllm, Vllm]]:
    root = tmp_path_factory.mktemp("replicas")
    both = Vllm(free_port(), root / "a.log"), Vllm(free_port(), root / "b.log")
    for each in both:
        each.start()
    try:
        yield both
    finally:
        for each in both:
            each.kill()


def conversation(number: int, turn: int) -> list[dict[str, Any]]:
    """Return the messages of a turn of a conversation: those of the turns before and one more question."""
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": f"{number} and {number}?"}]
    for _ in range(turn):
        messages += [{"role": "assistant", "content": "2"}, {"role": "user", "content": "And then?"}]
    return messages


def ask(served: Served, number: int, turn: int = 0) -> int:
    """Ask one turn; return the status."""
    try:
        served.ask(messages=conversation(number, turn), max_tokens=4)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
    return 200


def place_of(served: Served, replicas: tuple[Vllm, ...], number: int, turn: int = 0) -> int:
    """Return which replica answers a turn."""
    before = [each.num_answered() for each in replicas]
    assert ask(served, number, turn) == 200
    grown = [each.num_answered() - was for each, was in zip(replicas, before, strict=True)]
    assert sum(grown) == 1
    return grown.index(1)


def is_back(served: Served, replica: Vllm) -> bool:
    """Tell whether the gateway has let a replica in again: until then its proofs are among what that one answers."""
    return any("a replica is back" in line and replica.url in line for line in served.log.read_text().splitlines())


def test_calls_keep_their_replica_and_outlive_it(replicas: tuple[Vllm, Vllm], tmp_path: Path) -> None:
    """Turns of a conversation go to one replica; when it dies to the other; once it has proved itself, back."""
    own = ["--model", str(POLICY), "--name", "base"]
    for each in replicas:
        own += ["--upstream", each.url]
    os.environ["SPANLOOP_SERVE_RUN_UPSTREAM_API_KEY"] = KEY
    try:
        with collector() as received, serving(tmp_path / "data", *own, collector=received, timeout_s=500) as served:
            places = {number: place_of(served, replicas, number) for number in range(8)}
            assert set(places.values()) == {0, 1}
            for number, place in places.items():
                assert [place_of(served, replicas, number, turn) for turn in (1, 2)] == [place, place]

            replicas[1].kill()
            statuses = [ask(served, number) for number in (*places, *places)]
            assert set(statuses) == {200}  # a call that finds its replica dead is answered by the other

            replicas[1].start()
            deadline = time.monotonic() + 300
            while not is_back(served, replicas[1]):
                assert time.monotonic() < deadline, served.log.read_text()
                time.sleep(1)
            moved = next(number for number, place in places.items() if place == 1)
            assert place_of(served, replicas, moved) == 1
            assert KEY not in served.log.read_text()
    finally:
        del os.environ["SPANLOOP_SERVE_RUN_UPSTREAM_API_KEY"]
