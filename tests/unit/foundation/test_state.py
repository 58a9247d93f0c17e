from pathlib import Path

import pytest

from foundation.files import write_atomically
from foundation.state import StateUnreadable, encode_state, read_state


def test_what_was_written_comes_back(tmp_path: Path) -> None:
    """Without version and digest, which are the file's own; no file is no state."""
    path = tmp_path / "state.json"
    assert read_state(path, version=1, hint="") is None

    write_atomically(path, encode_state({"a": "é", "b": [1, None]}, version=1))

    assert read_state(path, version=1, hint="") == {"a": "é", "b": [1, None]}
    assert read_state(path, version=2, hint="") == {"a": "é", "b": [1, None]}


def test_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    """It is refused, whatever it turned the text into."""
    path = tmp_path / "state.json"
    content = encode_state({"live": "/models/a", "count": 3}, version=1)
    unnoticed = []
    for place in range(len(content)):
        for bit in range(8):
            changed = bytearray(content)
            changed[place] ^= 1 << bit
            path.write_bytes(changed)
            try:
                found = read_state(path, version=1, hint="Restore it.")
            except StateUnreadable:
                continue
            unnoticed.append((place, bit, found))

    # Spaces between values, and the name of the digest or version itself: the content is still what was written.
    assert all(found is not None and found["live"] == "/models/a" and found["count"] == 3 for *_, found in unnoticed)


def test_a_newer_layout_is_not_guessed_at(tmp_path: Path) -> None:
    """The release that wrote it reads it."""
    path = tmp_path / "state.json"
    path.write_bytes(encode_state({}, version=2))

    with pytest.raises(StateUnreadable, match="layout 2"):
        read_state(path, version=1, hint="")
