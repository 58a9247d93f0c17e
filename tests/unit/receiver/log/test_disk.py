"""This machine's disk, where it behaves unlike what one writes to it."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from receiver.log.disk import OsDisk

DISK = OsDisk()


def written(path: Path, parts: Sequence[bytes], offset: int = 0) -> bytes:
    handle = DISK.create(path)
    DISK.write(handle, parts, offset)
    DISK.sync(handle)
    DISK.close(handle)
    return DISK.read(path)


def test_more_parts_than_one_call_takes_are_written_in_order(tmp_path: Path) -> None:
    """Linux takes 1,024 buffers at a time; empty ones are no end."""
    parts = [b"%d," % number if number % 3 else b"" for number in range(3000)]

    assert written(tmp_path / "a", parts) == b"".join(parts)


def test_what_the_kernel_left_of_a_write_is_written_after_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A nearly full disk takes a part of a part, and a signal may come in between."""
    monkeypatch.setattr(os, "pwritev", lambda handle, parts, offset: os.pwrite(handle, b"".join(parts)[:3], offset))

    assert written(tmp_path / "a", [b"one", b"", b"twelve", b"x"], offset=2) == b"\0\0onetwelvex"


def test_a_file_is_private_and_never_written_over(tmp_path: Path) -> None:
    """It holds other people's prompts, and an older one's records may be in it."""
    written(tmp_path / "a", [b"x"])

    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        DISK.create(tmp_path / "a")
    with pytest.raises(FileNotFoundError):
        DISK.open(tmp_path / "b")


def test_only_files_are_listed_by_name(tmp_path: Path) -> None:
    """Of a directory that is not there, none; what is gone already is removed without complaint."""
    DISK.make_directory(tmp_path / "log" / "quarantine")
    for name in ("b", "a"):
        written(tmp_path / "log" / name, [b"x"])
    DISK.rename(tmp_path / "log" / "b", tmp_path / "log" / "a")
    DISK.unlink(tmp_path / "log" / "b")

    assert DISK.list(tmp_path / "log") == [tmp_path / "log" / "a"]
    assert DISK.list(tmp_path / "none") == []
