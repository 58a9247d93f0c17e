"""`spanloop up`: receiver and page together, on one machine, until Ctrl-C."""

import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from pydantic import Field

from foundation.errors import SpanloopError
from foundation.settings import DEFAULT_DATA, Settings
from spanloop.processes import StageFailed, end_with_parent, spanloop_command

LOOK_EVERY_S = 0.2
END_PATIENCE_S = 20


class UpConfig(Settings):
    """Settings of the two together; each reads what else it has from the environment and spanloop.toml."""

    data: Path = Field(default=DEFAULT_DATA)
    """Directory that keeps everything."""

    grpc: str = "127.0.0.1:4317"
    """Address the receiver takes OTLP over gRPC on."""

    http: str = "127.0.0.1:4318"
    """Address the receiver takes OTLP over HTTP on, and answers SQL."""

    listen: str = "127.0.0.1:8317"
    """Address of the page."""


def up(*, config: Annotated[UpConfig, Parameter(name="*")] = UpConfig()) -> None:
    """Start receiver and page, each a process of its own, until Ctrl-C; when one ends, both do.

    Example: spanloop up --data spanloop-data
    """
    data = str(config.data)
    commands = (
        spanloop_command("receiver", "run", "--data", data, "--grpc", config.grpc, "--http", config.http),
        spanloop_command("page", "--data", data, "--listen", config.listen),
    )
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    preparing = end_with_parent if sys.platform.startswith("linux") else None
    # A Ctrl-C is for us, who then end them one after the other.
    running = [subprocess.Popen(command, start_new_session=True, preexec_fn=preparing) for command in commands]
    try:
        while not ended.wait(LOOK_EVERY_S):
            gone = next((process for process in running if process.poll() is not None), None)
            if gone is not None:
                raise StageFailed(commands[running.index(gone)][2:], gone.returncode, [], was_shown=True)
    finally:
        late = [process for process in reversed(running) if not _stopped(process)]
    if late:
        raise SpanloopError(f"{len(late)} of 2 did not end within {END_PATIENCE_S} s and were killed")


def _stopped(process: "subprocess.Popen[bytes]") -> bool:
    """End a process; tell whether it did so when it was told to."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        return process.wait(END_PATIENCE_S) is not None
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return False
