"""What harms a process by its id."""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path


def pause(pid: int, seconds: float) -> None:
    """Stop a process for some seconds."""
    os.kill(pid, signal.SIGSTOP)
    time.sleep(seconds)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


def wait_for_end(pid: int, timeout_s: float) -> float:
    """Return after how many seconds a process was gone."""
    began = time.monotonic()
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() - began < timeout_s, f"process {pid} is still there"
        time.sleep(0.1)
    return time.monotonic() - began
