"""What cannot be sent is kept on disk, within its bound, private, and each request once."""

import os
import stat
import time
from pathlib import Path

from otel_exporter.sending.spool import ABANDONED_S, Spool


def test_the_oldest_comes_first_and_once(tmp_path: Path) -> None:
    """A request belongs to whoever took it until it is given back."""
    spool = Spool(tmp_path / "spool", 1000)
    spool.put("traces", b"first")
    spool.put("logs", b"second")

    one, other = spool.take(), spool.take()

    assert one is not None
    assert other is not None
    assert (one[1:], other[1:]) == (("traces", b"first"), ("logs", b"second"))
    assert spool.take() is None
    spool.give_back(one[0])
    spool.done(other[0])
    again = spool.take()
    assert again is not None
    assert again[2] == b"first"


def test_the_bound_costs_the_oldest(tmp_path: Path) -> None:
    """What does not fit pushes out what came first, and is counted."""
    spool = Spool(tmp_path, 10)
    for body in (b"aaaa", b"bbbb", b"cccc"):
        assert spool.put("traces", body)

    assert not spool.put("traces", b"x" * 11)
    assert spool.num_dropped == 2
    taken = spool.take()
    assert taken is not None
    assert taken[2] == b"bbbb"


def test_files_are_private(tmp_path: Path) -> None:
    """Prompts lie in them."""
    spool = Spool(tmp_path / "spool", 1000)
    spool.put("traces", b"prompt")

    (path,) = (tmp_path / "spool").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_what_a_dead_process_had_taken_is_offered_again(tmp_path: Path) -> None:
    """A request is not lost with the process that was about to send it."""
    spool = Spool(tmp_path, 1000)
    spool.put("traces", b"body")
    taken = spool.take()
    assert taken is not None
    assert Spool(tmp_path, 1000).take() is None
    long_ago = time.time() - ABANDONED_S - 1
    os.utime(taken[0], (long_ago, long_ago))

    again = Spool(tmp_path, 1000).take()

    assert again is not None
    assert again[1:] == ("traces", b"body")
