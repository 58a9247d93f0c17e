"""What is to be forgotten, as a file says it."""

import json
from pathlib import Path

import pytest

from foundation.errors import SettingsError
from foundation.named_traces import read_traces


def test_traces_and_names_are_read(tmp_path: Path) -> None:
    """Names may be left out."""
    path = tmp_path / "traces.json"
    path.write_text(json.dumps({"traces": [["shop", "ab"], ["shop", "ab"]], "names": ["chatcmpl-1"]}))
    assert read_traces(path) == ({("shop", "ab")}, ["chatcmpl-1"])
    path.write_text('{"traces": []}')
    assert read_traces(path) == (set(), [])


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"traces": 5}', b'{"traces": ["abc"]}', b"\xff", b"[" * 9999])
def test_anything_else_is_refused_by_its_name(tmp_path: Path, content: bytes) -> None:
    """What is not understood must not pass for nothing to forget."""
    path = tmp_path / "traces.json"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match=r"traces\.json names no traces"):
        read_traces(path)
    with pytest.raises(SettingsError, match="cannot be read"):
        read_traces(tmp_path / "gone.json")
