"""Stages as processes: a batch command that answers with its report, a server that runs while a block does."""

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from foundation.errors import ExitStatus, SettingsError, SpanloopError
from foundation.web.http import answers

LAST_LINES = 6
"""Of what a program that failed wrote, so many are repeated."""

GATEWAY_WITHIN_S = 660
"""A gateway may take to be ready: longer than it gives its engine (`start_timeout_s`), so that it says itself what was
wrong."""


class StageFailed(SpanloopError):
    """A stage ended with a status other than 0; it is passed on, so that a scheduler sees what the stage meant."""

    def __init__(
        self, command: Sequence[str], status: int, narration: Iterable[str], *, was_shown: bool = False
    ) -> None:
        said = list(narration)
        ended = f"`{' '.join(command)}` ended with status {status}"
        super().__init__(ended if was_shown or not said else "\n".join([f"{ended}:", *said]))
        self.exit_status = ExitStatus(status) if status in set(ExitStatus) else ExitStatus.FAILED
        self.said = "\n".join(said)
        """The last lines it wrote, which the message repeats only where nobody saw them."""


def spanloop_command(*arguments: str) -> list[str]:
    """Return the command line of this environment's own `spanloop`."""
    return [sys.executable, "-m", "spanloop", *arguments]


_runner: Callable[[Sequence[str]], dict[str, Any]] | None = None
"""What runs stages in the place of a new process each; null unless `stages_run_by` said so."""


@contextmanager
def stages_run_by(runner: Callable[[Sequence[str]], dict[str, Any]]) -> Iterator[None]:
    """Have `run_stage` give its command to a runner while the block lasts."""
    global _runner
    _runner, before = runner, _runner
    try:
        yield
    finally:
        _runner = before


def run_stage(*arguments: str, cwd: Path | None = None, narration: TextIO | None = None) -> dict[str, Any]:
    """Run a batch command of ours with `--json` and return the report it printed.

    Raises `StageFailed` with the stage's own exit status.
    """
    if _runner is not None and cwd is None and narration is None:
        return _runner([*arguments, "--json"])
    return run_program(spanloop_command(*arguments, "--json"), cwd=cwd, narration=narration)


def run_program(
    command: Sequence[str],
    *,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    narration: TextIO | None = None,
) -> dict[str, Any]:
    """Run a program that prints one JSON object on stdout, and return the object.

    What it writes to stderr passes through to `narration` (default: our stderr) as it comes. It ends when we end,
    however that is: left behind, it would work on under nobody's lock.
    """
    with _child(command, cwd, environment, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        last_lines: deque[str] = deque(maxlen=LAST_LINES)
        relay = threading.Thread(target=_relay, args=(process.stderr, narration or sys.stderr, last_lines), daemon=True)
        relay.start()
        output = process.stdout.read()
        relay.join()
    if process.returncode != ExitStatus.DONE:
        raise StageFailed(command, process.returncode, last_lines, was_shown=narration is None)
    answer: dict[str, Any] = json.loads(output)
    return answer


def run_aside(command: Sequence[str], *, environment: Mapping[str, str] | None = None) -> tuple[int, list[str]]:
    """Run a program whose output is for people: all of it passes through to stderr. Return status and last lines.

    Raises `SettingsError` where there is no such program. It ends when we end.
    """
    try:
        child = _child(command, None, environment, stderr=subprocess.STDOUT)
    except OSError as error:
        raise SettingsError(
            f"{command[0]} cannot be started: {error.strerror}", hint="Install it, or name it with its path."
        ) from error
    last_lines: deque[str] = deque(maxlen=LAST_LINES)
    with child as process:
        assert process.stdout is not None
        _relay(process.stdout, sys.stderr, last_lines)
    return process.returncode, list(last_lines)


def _child(
    command: Sequence[str], cwd: Path | None, environment: Mapping[str, str] | None, *, stderr: int
) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        cwd=cwd,
        env={**os.environ, **(environment or {})},
        preexec_fn=end_with_parent if sys.platform.startswith("linux") else None,
    )


_PRCTL = ctypes.CDLL(None).prctl if sys.platform.startswith("linux") else None
"""Looked up here: between fork and exec nothing may be imported."""

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def end_with_parent(by: int = signal.SIGKILL) -> None:
    """Have this process sent a signal when the one that forked it ends."""
    assert _PRCTL is not None
    _PRCTL(_PR_SET_PDEATHSIG, by)


def _relay(source: Iterable[str], target: TextIO, last_lines: "deque[str]") -> None:
    for line in source:
        target.write(line)
        if line.strip():
            last_lines.append(line.rstrip())


@dataclass
class Server:
    """A server running as our child."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    """File its output goes to."""

    def is_running(self) -> bool:
        """Tell whether the process is still there."""
        return self.process.poll() is None

    def tail(self, lines: int = 8) -> str:
        """Return the last lines it wrote."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


@contextmanager
def running_server(
    name: str,
    command: Sequence[str],
    *,
    ready_url: str,
    log: Path,
    timeout_s: float,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """Start a server, wait until `ready_url` answers 200, run the block, and stop the server with SIGTERM.

    It is stopped so too where we are killed: a candidate that nobody asks any more would keep its memory for ever.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            preexec_fn=partial(end_with_parent, signal.SIGTERM) if sys.platform.startswith("linux") else None,
        )
    server = Server(name, process, log)
    try:
        _wait_until_ready(server, ready_url, timeout_s)
        yield server
    finally:
        _stop(process)


def _wait_until_ready(server: Server, url: str, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if not server.is_running():
            raise SpanloopError(
                f"{server.name} ended with status {server.process.returncode} before it was ready:\n{server.tail()}",
                hint=f"Its whole output is in {server.log}",
            )
        if answers(url):
            return
        time.sleep(0.1)
    raise SpanloopError(
        f"{server.name} was not ready after {timeout_s:.0f} s ({url})",
        hint=f"Its output is in {server.log}",
    )


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port() -> int:
    """Return a loopback port nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
