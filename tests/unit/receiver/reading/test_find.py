"""Who is found to hold DATA: told by the kernel's lock, never by a file that outlived a crash."""

import json
import os
from pathlib import Path

import pytest

from foundation.errors import Busy
from foundation.web import places
from receiver.reading import find
from receiver.reading.find import find_receiver, find_receivers
from receiver.store.lock import announcement_path, hold


def announce(data: Path, **fields: object) -> None:
    announcement_path(data).write_text(json.dumps({"http": "http://127.0.0.1:1", "token": "t", **fields}))


def test_a_file_that_outlived_a_crash_is_no_receiver(tmp_path: Path) -> None:
    """Nobody holds the lock, so nobody runs; the same where there is no directory at all."""
    announce(tmp_path, pid=1)

    assert find_receiver(tmp_path) is None
    assert find_receiver(tmp_path / "nowhere") is None


def test_who_holds_the_lock_and_says_where_it_is_is_found(tmp_path: Path) -> None:
    """With what it says of itself."""
    with hold(tmp_path, "a receiver"):
        announce(tmp_path, pid=os.getpid())

        found = find_receiver(tmp_path)

    assert found is not None
    assert found["http"] == "http://127.0.0.1:1"


def test_who_holds_the_lock_and_says_nothing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the file of a process before, nor one that is half written, is taken for an answer."""
    monkeypatch.setattr(find, "PATIENCE_S", 0.0)
    with hold(tmp_path, "a backup"):
        announce(tmp_path, pid=os.getpid() + 1)
        with pytest.raises(Busy, match=r"a backup \(pid"):
            find_receiver(tmp_path)
        announcement_path(tmp_path).write_text('{"http": ')
        with pytest.raises(Busy, match="does not answer yet"):
            find_receiver(tmp_path)


def test_a_receiver_that_is_named_is_asked_whoever_holds_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DATA of this machine says nothing of it."""
    monkeypatch.setenv(places.RECEIVER, "http://receiver:4318")

    assert find_receiver(tmp_path / "nowhere") == {"http": "http://receiver:4318", "token": "", "is_remote": True}


def test_all_that_are_named_are_asked_but_for_stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where none is named it is the one that holds DATA; where that is none, nobody."""
    monkeypatch.setenv(places.RECEIVER, "http://a:4318 s3://bucket/days http://b:4318")
    assert [one["http"] for one in find_receivers(tmp_path)] == ["http://a:4318", "http://b:4318"]
    monkeypatch.delenv(places.RECEIVER)
    assert find_receivers(tmp_path) == []
    with hold(tmp_path, purpose="spanloop receiver run"):
        announcement_path(tmp_path).write_text(json.dumps({"http": "http://c:1", "pid": os.getpid()}))
        assert find_receivers(tmp_path) == [find_receiver(tmp_path)]
