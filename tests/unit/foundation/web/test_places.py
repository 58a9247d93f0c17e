"""Servers named by URL: what is an address, whose key they are shown, and who else comes to know."""

from pathlib import Path

import pytest

from foundation.errors import SettingsError
from foundation.web import places


@pytest.fixture(autouse=True)
def _unnamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin with nothing named, and end so."""
    for variable in places.VARIABLES:
        monkeypatch.setenv(variable, "")


def test_what_was_named_is_known_here_and_to_workers(tmp_path: Path) -> None:
    """With the key in the file, which no message shows."""
    key = tmp_path / "key"
    key.write_text("sl_secret\n")

    places.name_places("https://receiver:4318/", None, key)

    found = places.receiver()
    assert found == places.Place("https://receiver:4318", "sl_secret")
    assert "sl_secret" not in repr(found)
    assert places.control() is None
    assert set(places.named()) == {places.RECEIVER, places.KEY_FILE}


def test_a_store_may_stand_in_the_place_of_a_receiver() -> None:
    """Its sealed days are read; what asks a running receiver says that it is none."""
    places.name_places(["s3://bucket/spanloop/", "http://receiver:4318"], None, None)

    assert [(place.url, place.is_store) for place in places.receivers()] == [
        ("s3://bucket/spanloop", True),
        ("http://receiver:4318", False),
    ]
    places.name_places("file:///mnt/spanloop", None, None)
    with pytest.raises(SettingsError, match="file:///mnt/spanloop is no receiver, and this asks one"):
        places.receiver()


@pytest.mark.parametrize(
    "text", ["receiver:4318", "ftp://receiver", "http://", "http://x:0", "http://x:99999", "http://x/v1", "http://a@x"]
)
def test_what_is_no_address_is_refused_at_once(text: str) -> None:
    """Not after the hours before it is first asked."""
    with pytest.raises(SettingsError, match=r"--receiver .* is no address"):
        places.name_places(text, None, None)


@pytest.mark.parametrize("content", [None, b"", b"two words", b"\xff"])
def test_a_file_without_a_key_is_named(tmp_path: Path, content: bytes | None) -> None:
    """Nothing of it is shown."""
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(SettingsError, match=f"{path}") as refused:
        places.name_places("http://receiver:4318", None, path)
    assert "words" not in str(refused.value)
