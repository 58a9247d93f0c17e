"""A backup appears when it is whole, never over something, and a failed one leaves nothing."""

from pathlib import Path

import pytest

from foundation.errors import SettingsError
from receiver.reading.backup import back_up_data
from receiver.reading.files import FileReader
from tests.unit.receiver.days.three_days import three_days


def test_the_files_are_copied_while_no_receiver_runs(tmp_path: Path) -> None:
    """Every day of them, into a directory that reads as DATA itself."""
    three_days(tmp_path / "data").store.close()

    assert back_up_data(tmp_path / "data", tmp_path / "out") == 3

    reader = FileReader(tmp_path / "out")
    assert reader.query("select count(*) as n from spans").to_pylist() == [{"n": 3}]
    reader.close()
    assert not (tmp_path / ".out.partial").exists()


def test_nothing_is_written_over(tmp_path: Path) -> None:
    """Neither a directory that holds something, nor a file."""
    three_days(tmp_path / "data").store.close()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    (tmp_path / "file").touch()

    for out in ("full", "file"):
        with pytest.raises(SettingsError, match="not empty"):
            back_up_data(tmp_path / "data", tmp_path / out)
    with pytest.raises(SettingsError, match="no directory"):
        back_up_data(tmp_path / "typo", tmp_path / "out")


def test_a_copy_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No half of it is ever to be seen under its name, or beside it."""
    three_days(tmp_path / "data").store.close()

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("receiver.reading.backup.take_copies", stop)
    with pytest.raises(KeyboardInterrupt):
        back_up_data(tmp_path / "data", tmp_path / "out")

    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]
