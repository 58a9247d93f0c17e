"""One writer of a DATA directory at a time, named to the others; readers keep writers out and each other not."""

import os
from pathlib import Path

import pytest

from foundation.errors import Busy
from receiver.store.lock import (
    hold,
    holder_of,
    is_held,
    keep_out_writers,
    lock_path,
)


def test_the_second_writer_is_told_of_the_first(tmp_path: Path) -> None:
    """By its purpose and process; afterwards DATA is free."""
    with hold(tmp_path / "data", "the first"):
        assert is_held(tmp_path / "data")
        assert holder_of(tmp_path / "data")["pid"] == os.getpid()
        with pytest.raises(Busy, match="the first"), hold(tmp_path / "data", "the second", wait_s=0):
            pass

    assert not is_held(tmp_path / "data")


def test_readers_keep_out_writers_and_not_each_other(tmp_path: Path) -> None:
    """A backup and a verification may run at once; a receiver may not start meanwhile."""
    with hold(tmp_path, "before"), pytest.raises(Busy, match="before"), keep_out_writers(tmp_path, wait_s=0):
        pass
    with (
        keep_out_writers(tmp_path),
        keep_out_writers(tmp_path),
        pytest.raises(Busy),
        hold(tmp_path, "a receiver", wait_s=0),
    ):
        pass


def test_a_lock_file_that_says_nothing_names_nobody(tmp_path: Path) -> None:
    """It may be damaged, or of another release."""
    for content in (b"", b"[]", b'{"pid": 1}'):
        lock_path(tmp_path).write_bytes(content)
        assert holder_of(tmp_path) == {}
