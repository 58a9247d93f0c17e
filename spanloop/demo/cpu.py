"""CPU-seconds of a process with everything it started, from /proc; nothing is known elsewhere than on Linux."""

import os
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


def cpu_seconds(pid: int, *, without: frozenset[int] = frozenset()) -> float:
    """Return what a process and its descendants have spent, those that ended among them; 0 where it is gone.

    A process named in `without`, with all below it, does not count.
    """
    proc = Path("/proc") / str(pid)
    try:
        fields = (proc / "stat").read_text().rpartition(")")[2].split()
        threads = [thread.read_text().split() for thread in (proc / "task").glob("*/children")]
    except OSError:
        return 0.0
    own = sum(int(field) for field in fields[11:15]) / TICKS  # utime, stime, and those of children waited for
    children = {int(child) for thread in threads for child in thread} - without
    return own + sum(cpu_seconds(child, without=without) for child in children)
