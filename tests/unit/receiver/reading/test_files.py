"""DATA read from its files: what landed, what has yet to, and that reading brings nothing about by itself."""

from pathlib import Path

import pytest

from foundation.errors import SettingsError
from receiver.decode.otlp import Signal, read_protobuf
from receiver.pipeline import Pipeline
from receiver.reading.files import FileReader, is_clean, recover
from receiver.store import landing
from tests.export_requests import span, traces


def names(data: Path) -> list[str]:
    reader = FileReader(data)
    try:
        return [row["name"] for row in reader.query("select name from spans order by name").to_pylist()]
    finally:
        reader.close()


def write(data: Path, name: str) -> None:
    pipeline = Pipeline(data, land_every_s=60)
    body = traces(span(1, name=name)).SerializeToString()
    pipeline.submit(read_protobuf(Signal.TRACES, body), "default").result(10)
    pipeline.close()


def test_an_empty_directory_reads_as_empty_tables(tmp_path: Path) -> None:
    """And it is clean: there is nothing to recover."""
    assert names(tmp_path) == []
    assert is_clean(tmp_path)


def test_what_a_receiver_that_died_had_acknowledged_is_recovered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lies in the log alone, and is in the files once somebody wants to read them."""
    with monkeypatch.context() as patched:
        patched.setattr(landing.Store, "land", lambda *_, **__: None)
        patched.setattr(landing.Store, "has_unlanded", False)
        patched.setattr("receiver.log.wal.WriteAheadLog.close", lambda *_: None)
        write(tmp_path, "late")

    assert not is_clean(tmp_path)
    recover(tmp_path)

    assert is_clean(tmp_path)
    assert names(tmp_path) == ["late"]


def test_what_cannot_be_recovered_for_want_of_permission_is_a_wrong_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the way out: the receiver's user, or a copy."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("receiver.reading.files.is_clean", lambda _: False)
    monkeypatch.setattr("receiver.pipeline.Pipeline.__init__", refuse)

    with pytest.raises(SettingsError, match="Permission denied") as wrong:
        recover(tmp_path)
    assert "receiver's user" in (wrong.value.hint or "")
