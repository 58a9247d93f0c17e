import errno
import os
import shutil
from pathlib import Path

import pytest

from serve.evidence.spool import MAX_UNREAD, Batch, NoRoom, Spool


def opened(path: Path, *, max_bytes: int = 1 << 20, min_free_bytes: int = 0) -> Spool:
    return Spool(path, max_bytes=max_bytes, min_free_bytes=min_free_bytes)


def drained(spool: Spool) -> list[Batch]:
    found = []
    while (batch := spool.first()) is not None:
        found.append(batch)
        spool.drop_first()
    return found


def test_what_was_put_comes_back_in_order_after_a_restart_too(tmp_path: Path) -> None:
    """Bytes, number of spans and project; counted at the start without being read."""
    batches = [Batch(bytes([number]) * 9 + b"\n", number, None if number % 2 else "p") for number in range(1, 20)]
    first = opened(tmp_path)
    for batch in batches[:10]:
        first.put(batch)
    again = opened(tmp_path)
    for batch in batches[10:]:
        again.put(batch)

    assert (again.num_spans, again.num_bytes > 0) == (sum(batch.num_spans for batch in batches), True)
    assert drained(again) == batches
    assert (again.num_spans, again.num_bytes, list(tmp_path.iterdir())) == (0, 0, [])


def test_it_is_bounded_and_private(tmp_path: Path) -> None:
    """What does not fit is refused and leaves nothing; prompts are in there, so only the owner reads them."""
    spool = opened(tmp_path / "spool", max_bytes=400)
    spool.put(Batch(b"x" * 200, 1))

    with pytest.raises(NoRoom, match="full"):
        spool.put(Batch(b"x" * 200, 1))

    (kept,) = (tmp_path / "spool").iterdir()
    assert spool.num_spans == 1
    assert (kept.stat().st_mode & 0o777, kept.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_a_disk_that_others_need_is_left_to_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Below the room to be left free, and where the disk refuses the write, it says so and leaves nothing."""
    spool = opened(tmp_path, min_free_bytes=shutil.disk_usage(tmp_path).total + 1)
    with pytest.raises(NoRoom, match="free"):
        spool.put(Batch(b"x", 1))

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    spool = opened(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", refuse)
        with pytest.raises(NoRoom, match="No space"):
            spool.put(Batch(b"x", 1))
    assert list(tmp_path.iterdir()) == []


def test_what_a_disk_changed_is_counted_and_not_sent(tmp_path: Path) -> None:
    """One request of three is damaged, another gone: the third is sent, and the spans of both are known to be lost."""
    spool = opened(tmp_path)
    for number in range(1, 4):
        spool.put(Batch(b"body", number))
    damaged, gone, _ = sorted(tmp_path.iterdir())
    damaged.write_bytes(damaged.read_bytes().replace(b"body", b"bodi"))
    gone.unlink()
    (tmp_path / "000000000009-9.otlp.partial").write_bytes(b"half")

    assert [batch.num_spans for batch in drained(spool)] == [3]
    assert spool.num_damaged == 1 + 2
    assert opened(tmp_path).num_spans == 0
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_read_at_the_moment_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process without a file to spare must not throw away what it kept; a disk that is broken holds nobody up."""
    spool = opened(tmp_path)
    spool.put(Batch(b"first", 1))
    spool.put(Batch(b"second", 2))

    def refuse(*_: object) -> bytes:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_bytes", refuse)
        for _ in range(3):
            with pytest.raises(OSError, match="Too many"):
                spool.first()
    assert (spool.num_damaged, spool.num_spans) == (0, 3)
    assert spool.first() == Batch(b"first", 1)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_bytes", refuse)
        for _ in range(MAX_UNREAD - 1 - 3):
            with pytest.raises(OSError, match="Too many"):
                spool.first()
        with pytest.raises(OSError, match="Too many"):  # the first was given up, the second is tried
            spool.first()
    assert (spool.num_damaged, spool.num_spans) == (1, 2)
    assert drained(spool) == [Batch(b"second", 2)]


def test_a_disk_that_removes_nothing_costs_no_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was sent is sent once more by the next start, and what could not be written was never kept."""
    spool = opened(tmp_path)
    spool.put(Batch(b"body", 1))

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", refuse)
        patched.setattr(Path, "rename", refuse)
        with pytest.raises(NoRoom, match="Read-only"):
            spool.put(Batch(b"more", 1))
        spool.drop_first()
    assert (spool.num_spans, spool.num_bytes) == (0, 0)
    assert opened(tmp_path).num_spans == 1
