"""What processes spent is added up over those they started, running or ended."""

import os
import subprocess
import sys

import pytest

from spanloop.demo.cpu import cpu_seconds

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="there is no /proc")

BURN = "import time\nwhile time.process_time() < 0.3: pass\nprint('done', flush=True)\n"


def test_a_child_counts_while_it_runs_and_after_it_ended() -> None:
    """And not at all where it is left out."""
    before = cpu_seconds(os.getpid())
    with subprocess.Popen([sys.executable, "-c", f"{BURN}input()"], stdin=-1, stdout=-1, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "done\n"
        running = cpu_seconds(os.getpid())
        apart = cpu_seconds(os.getpid(), without=frozenset({child.pid}))
        alone = cpu_seconds(child.pid)
    ended = cpu_seconds(os.getpid())

    assert alone >= 0.25
    assert running - before >= 0.25
    assert running - apart >= 0.25
    assert ended - before >= 0.25
    assert cpu_seconds(child.pid) == 0.0
