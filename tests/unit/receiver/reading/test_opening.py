"""Which way DATA is read, and that whoever opened a reader lets go of it."""

from pathlib import Path

import pytest

from foundation.errors import Busy
from foundation.web import places
from receiver.reading import opening
from receiver.reading.files import FileReader
from receiver.reading.opening import open_reader, reading, sources
from receiver.reading.remote import ReceiverReader
from receiver.reading.stored import StoredReader


def test_a_running_receiver_is_asked_and_files_are_read_where_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each way brings its own libraries."""
    assert isinstance(open_reader(tmp_path), FileReader)
    where = {"http": "http://127.0.0.1:1", "token": "t", "pid": 1}
    monkeypatch.setattr(opening, "find_receiver", lambda _: where)

    assert isinstance(open_reader(tmp_path), ReceiverReader)


def test_what_was_named_is_read_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several receivers, or a store with or without them."""
    monkeypatch.setenv(places.RECEIVER, f"file://{tmp_path}/store http://127.0.0.1:1")
    both = open_reader(tmp_path)
    both.close()
    named = sources(tmp_path, places.receivers())

    assert isinstance(both, StoredReader)
    assert [*named] == ["http://127.0.0.1:1"], "no receiver has pushed a day"
    assert isinstance(named["http://127.0.0.1:1"](), ReceiverReader)


def test_a_receiver_that_starts_meanwhile_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files were free a moment ago; now they are its own."""
    answers = iter([None, {"http": "http://127.0.0.1:1", "token": "t", "pid": 1}])
    monkeypatch.setattr(opening, "find_receiver", lambda _: next(answers))
    monkeypatch.setattr("receiver.reading.files.recover", _be_busy)

    assert isinstance(open_reader(tmp_path), ReceiverReader)


def test_patience_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody holds the files and never answers."""
    monkeypatch.setattr(opening, "PATIENCE_S", 0.0)
    monkeypatch.setattr("receiver.reading.files.recover", _be_busy)

    with pytest.raises(Busy):
        open_reader(tmp_path)


def _be_busy(_: Path) -> None:
    raise Busy("held")


def test_a_reader_is_closed_whatever_the_block_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that stay open would keep a receiver from starting."""
    closed: list[bool] = []
    monkeypatch.setattr(FileReader, "close", lambda _: closed.append(True))

    with pytest.raises(KeyError), reading(tmp_path):
        raise KeyError

    assert closed == [True]
