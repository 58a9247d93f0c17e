"""A store in a directory: private, synced, and nothing half-written shows."""

from pathlib import Path

import pytest

from foundation.store.local import LocalStore


def test_what_others_write_beside_is_no_object(tmp_path: Path) -> None:
    """Temporary files and the lock are hidden; what is made is its user's alone."""
    store = LocalStore(tmp_path / "store")
    store.create("a/pointer.json", b"{}")
    (tmp_path / "store" / "a" / ".pointer.json.x.tmp").write_bytes(b"half")

    assert [*store.names("")] == [("a/pointer.json", 2)]
    assert [*store.names("a")] == [("a/pointer.json", 2)]
    assert [*store.names("nothing")] == []
    assert (tmp_path / "store" / "a").stat().st_mode & 0o777 == 0o700


def test_an_upload_that_fails_leaves_nothing(tmp_path: Path) -> None:
    """The file is not there, so its object is not either."""
    store = LocalStore(tmp_path / "store")

    with pytest.raises(FileNotFoundError):
        store.upload("a/file", tmp_path / "missing")

    assert [*(tmp_path / "store").rglob("*.tmp")] == []
    assert store.get("a/file") is None
