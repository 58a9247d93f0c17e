"""One device for serving and training, and a vLLM (scripted, `tests.scripted_vllm`) that holds it while it is awake."""

import subprocess
import sys
import time
import urllib.error
from collections.abc import Iterator
from pathlib import Path

import pytest

from foundation.errors import ExitStatus
from foundation.web.http import answers
from spanloop.processes import free_port
from tests import nights
from tests.device import is_held
from tests.fakes import tiny_model
from tests.served import Served, serving

pytestmark = [pytest.mark.integration, pytest.mark.long, pytest.mark.timeout(900)]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """Run a gateway in front of the scripted vLLM; there are spans that a night has yet to learn from."""
    data, model, port = tmp_path / "data", tiny_model(tmp_path / "base", seed=0), free_port()
    data.mkdir(mode=0o700)
    nights.arrive(data, "spans")
    command = [sys.executable, "-m", "tests.scripted_vllm", str(model), str(port), str(data / "device")]
    with subprocess.Popen(command) as vllm:
        try:
            while not answers(f"http://127.0.0.1:{port}/health"):
                assert vllm.poll() is None
                time.sleep(0.1)
            with serving(data, "--model", str(model), "--upstream", f"http://127.0.0.1:{port}") as gateway:
                yield gateway
        finally:
            vllm.kill()


def night(served: Served, *arguments: str, stop: str = "") -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "tests.nights", str(served.data), stop, "nightly", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def status_of_a_call(served: Served) -> int:
    try:
        served.ask(messages=[{"role": "user", "content": "hello"}], max_tokens=2)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code if "retry-after" in error.headers else 0
    return 200


def test_a_night_that_asks_for_the_device_gets_it_and_gives_it_back(served: Served) -> None:
    """Without asking it is out of memory. Afterwards calls are answered again."""
    without = night(served)
    _, said = without.communicate()
    assert without.returncode == ExitStatus.FAILED
    assert "out of memory" in said

    again = night(served, "--pause")
    _, said = again.communicate()
    assert again.returncode == ExitStatus.DONE, said
    assert status_of_a_call(served) == 200
    assert is_held(served.data / "device")  # the engine has it


def test_a_night_that_dies_leaves_serving_awake(served: Served) -> None:
    """Killed while it has the device, and calls are told when to come again: the pause ends by itself."""
    asking = night(served, "--pause", stop="train run before")
    while not (served.data / "stopped").exists():
        assert asking.poll() is None, asking.communicate()
        time.sleep(0.05)
    assert status_of_a_call(served) == 503
    asking.kill()
    asking.communicate()

    deadline = time.monotonic() + 180
    while status_of_a_call(served) != 200:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert is_held(served.data / "device")
