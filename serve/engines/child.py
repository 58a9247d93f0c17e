"""What every engine process does first: make sure it never outlives the gateway that started it."""

import ctypes
import os
import signal
import sys

PARENT = "SPANLOOP_PARENT_PID"
"""Environment variable that names the gateway's process to the engine."""

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def end_with_parent() -> None:
    """Have the kernel send SIGTERM to this process when the gateway ends, however it ends. Linux only; else nothing."""
    parent = os.environ.get(PARENT)
    if parent is None or not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(parent):  # it ended before the line above
        sys.exit(1)
