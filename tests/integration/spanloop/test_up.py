"""`spanloop up`: two processes that live and end together."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from foundation.errors import ExitStatus
from foundation.web.http import answers
from spanloop.processes import free_port

pytestmark = [pytest.mark.integration, pytest.mark.long]


@contextlib.contextmanager
def up(data: Path, http: int, listen: int) -> Iterator["subprocess.Popen[bytes]"]:
    command = [sys.executable, "-m", "spanloop", "up", "--data", str(data), "--grpc", "127.0.0.1:0"]
    ports = ["--http", f"127.0.0.1:{http}", "--listen", f"127.0.0.1:{listen}"]
    with subprocess.Popen([*command, *ports], stderr=subprocess.DEVNULL, env=os.environ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_both_answer_until_they_are_told_to_end(tmp_path: Path) -> None:
    """And then neither does."""
    http, listen = free_port(), free_port()
    urls = (f"http://127.0.0.1:{http}/readyz", f"http://127.0.0.1:{listen}/healthz")
    with up(tmp_path / "data", http, listen) as process:
        deadline = time.monotonic() + 90
        while not all(map(answers, urls)):
            assert process.poll() is None
            assert time.monotonic() < deadline
        process.send_signal(signal.SIGTERM)

        assert process.wait(60) == ExitStatus.DONE
    assert not any(map(answers, urls))


def test_when_one_cannot_start_both_end_with_its_status(tmp_path: Path) -> None:
    """A port that is taken, for one."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        http, listen = free_port(), taken.getsockname()[1]
        with up(tmp_path / "data", http, listen) as process:
            assert process.wait(90) == ExitStatus.BUSY
        assert not answers(f"http://127.0.0.1:{http}/healthz")
