"""Files that appear whole or not at all, private to the user they are for."""

import errno
import json
import math
import os
from pathlib import Path

import pytest

from foundation.errors import Busy
from foundation.files import exclusive, make_directory, write_atomically, write_json


def test_a_write_replaces_the_file_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    """The old content or the new, and no other file."""
    path = tmp_path / "a" / "b"
    write_atomically(path, b"old")
    write_atomically(path, b"new")

    assert path.read_bytes() == b"new"
    assert [*path.parent.iterdir()] == [path]
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_file_is_as_it_was_where_its_directory_cannot_be_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new content was in place already; who is told of an error must find the old one."""
    path = tmp_path / "b"
    write_atomically(path, b"old")
    monkeypatch.setattr("foundation.files.sync_directory", fail)
    with pytest.raises(OSError, match="Input/output"):
        write_atomically(path, b"new")

    assert path.read_bytes() == b"old"
    assert [*tmp_path.iterdir()] == [path]


def fail(_: Path) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_a_directory_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    """Somebody chose it."""
    tmp_path.chmod(0o750)
    make_directory(tmp_path / "made")

    assert tmp_path.stat().st_mode & 0o777 == 0o750
    assert (tmp_path / "made").stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files for another user")
def test_what_root_makes_in_the_directory_of_another_user_is_theirs(tmp_path: Path) -> None:
    """A receiver of that user has to read it."""
    os.chown(tmp_path, 1234, 1234)
    write_atomically(tmp_path / "keys.json", b"{}")
    with exclusive(tmp_path / "keys.lock", purpose="a test"):
        pass

    assert {path.stat().st_uid for path in tmp_path.iterdir()} == {1234}


def test_a_lock_names_its_holder(tmp_path: Path) -> None:
    """Whoever comes second learns whom to wait for."""
    path = tmp_path / "lock"
    with (
        exclusive(path, purpose="the first"),
        pytest.raises(Busy, match=f"the first .pid {os.getpid()} "),
        exclusive(path, purpose="the second"),
    ):
        raise AssertionError("two hold it")


def test_what_json_cannot_say_is_null(tmp_path: Path) -> None:
    """NaN and infinities, however deep; a strict reader reads what is written."""
    path = tmp_path / "report.json"
    write_json(path, {"a": math.nan, "b": [1.5, (-math.inf, {"c": math.inf})], "d": "NaN"})
    found = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert found == {"a": None, "b": [1.5, [None, {"c": None}]], "d": "NaN"}
