"""A stage is a process whose report is its answer; a server is one that is there while a block runs."""

import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from foundation.errors import ExitStatus, SpanloopError
from serve.settings import ServeConfig
from spanloop import processes
from spanloop.processes import (
    GATEWAY_WITHIN_S,
    StageFailed,
    free_port,
    run_program,
    run_stage,
    running_server,
    stages_run_by,
)


def program(text: str) -> list[str]:
    return [sys.executable, "-S", "-c", text]


def test_the_answer_is_what_it_prints_and_the_rest_is_narration() -> None:
    """What it says passes through as it comes; its environment is ours and more."""
    said = io.StringIO()
    text = "import os, sys; print('working', file=sys.stderr); print('{\"found\": ' + os.environ['FOUND'] + '}')"

    assert run_program(program(text), environment={"FOUND": "3"}, narration=said) == {"found": 3}
    assert said.getvalue() == "working\n"


def test_a_failure_has_the_status_and_the_last_words_of_the_stage() -> None:
    """A scheduler sees what the stage meant; a status that means nothing of ours is a failure."""
    text = "import sys\nfor n in range(20): print(f'line {n}', file=sys.stderr)\nsys.exit(%d)"
    with pytest.raises(StageFailed) as refused:
        run_program(program(text % 3), narration=io.StringIO())
    with pytest.raises(StageFailed) as killed:
        run_program(program("import os; os.kill(os.getpid(), 9)"), narration=io.StringIO())

    assert refused.value.exit_status is ExitStatus.REFUSED
    assert refused.value.said.splitlines() == [f"line {n}" for n in range(14, 20)]
    assert "line 19" in refused.value.message
    assert killed.value.exit_status is ExitStatus.FAILED


def test_stages_may_be_run_by_another() -> None:
    """A warm process, for a block; afterwards each is a process of its own again."""
    asked = []
    with stages_run_by(lambda arguments: asked.append(tuple(arguments)) or {"by": "another"}):
        assert run_stage("etl", "run") == {"by": "another"}

    assert asked == [("etl", "run", "--json")]
    assert processes._runner is None


def test_a_stage_ends_with_whoever_started_it() -> None:
    """However that ended: it would work on under nobody's lock."""
    inner = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    outer = (
        "import subprocess, sys, os, signal\n"
        "from spanloop.processes import end_with_parent\n"
        f"command = [sys.executable, '-S', '-c', {inner!r}]\n"
        "child = subprocess.Popen(command, stdout=subprocess.PIPE, preexec_fn=end_with_parent)\n"
        "print(child.stdout.readline().decode(), flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )

    ended = subprocess.run([sys.executable, "-c", outer], capture_output=True, text=True, timeout=120, check=False)

    assert ended.returncode == -signal.SIGKILL
    assert not is_running(int(ended.stdout))


def is_running(pid: int) -> bool:
    """Tell whether a process is there and not merely unburied, once it had the time to be ended."""
    for _ in range(2000):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX":
                return False
        except FileNotFoundError:
            return False
        os.sched_yield()
    return True


def test_a_server_that_ends_before_it_is_ready_is_said(tmp_path: Path) -> None:
    """With its last words, at once."""
    command = program("import sys; print('no such model'); sys.exit(2)")

    with (
        pytest.raises(SpanloopError, match="status 2 before it was ready:\nno such model"),
        running_server("it", command, ready_url="http://127.0.0.1:9", log=tmp_path / "log", timeout_s=60),
    ):
        raise AssertionError


def server_at(port: int) -> list[str]:
    """Return the command of a server that answers everything."""
    text = (
        "from http.server import BaseHTTPRequestHandler, HTTPServer\n"
        "class Handler(BaseHTTPRequestHandler):\n"
        "    def do_GET(self): self.send_response(200); self.end_headers()\n"
        f"HTTPServer(('127.0.0.1', {port}), Handler).serve_forever()\n"
    )
    return [sys.executable, "-c", text]


def test_a_server_ends_with_whoever_started_it(tmp_path: Path) -> None:
    """Killed too: nobody else knows of it."""
    port = free_port()
    outer = (
        "import os, signal\n"
        "from pathlib import Path\n"
        "from spanloop.processes import running_server\n"
        f"log, url = Path({str(tmp_path / 'log')!r}), 'http://127.0.0.1:{port}/'\n"
        f"with running_server('it', {server_at(port)!r}, ready_url=url, log=log, timeout_s=60) as one:\n"
        "    print(one.process.pid, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )

    ended = subprocess.run([sys.executable, "-c", outer], capture_output=True, text=True, timeout=120, check=False)

    assert ended.returncode == -signal.SIGKILL
    assert not is_running(int(ended.stdout))


def test_a_server_is_there_while_the_block_runs(tmp_path: Path) -> None:
    """From the first answer on, and it is stopped behind it."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/"

    with running_server("it", server_at(port), ready_url=url, log=tmp_path / "a/log", timeout_s=60) as one:
        assert one.is_running()
        assert "GET" in one.tail()
    assert not one.is_running()


def test_whoever_waits_for_a_gateway_waits_longer_than_it_does_for_its_engine() -> None:
    """So that a slow machine is not given up on, and what is wrong is said by who knows."""
    assert ServeConfig().start_timeout_s < GATEWAY_WITHIN_S
