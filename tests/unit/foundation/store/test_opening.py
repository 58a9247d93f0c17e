"""What a URL of a store looks like."""

from pathlib import Path

import pytest

from foundation.errors import SettingsError
from foundation.store.opening import open_store, require_store


@pytest.mark.parametrize("url", ["", "/tmp", "file://", "file:///", "file://host/a", "ftp://a/b", "s3://", "s3://b/?x"])
def test_what_is_no_store_is_refused(url: str) -> None:
    """With what one looks like."""
    with pytest.raises(SettingsError, match="is no store"):
        open_store(url)


def test_a_directory_is_a_store_by_its_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Named for a command; where none is, it says how."""
    monkeypatch.delenv("SPANLOOP_STORE", raising=False)
    with pytest.raises(SettingsError, match="no store is named"):
        require_store()

    monkeypatch.setenv("SPANLOOP_STORE", f"file://{tmp_path}/a%20b")
    require_store().put("key", b"content")

    assert (tmp_path / "a b" / "key").read_bytes() == b"content"
