"""Rows of export files: what a file is, by its first signs, and what of it is no row."""

import gzip
from pathlib import Path

import pytest

from foundation.errors import SettingsError
from receiver.history import rows as module
from receiver.history.rows import Unreadable, read_rows

TWO = [{"id": 1}, {"id": 2}]


@pytest.mark.parametrize(
    "content",
    [
        b'{"id": 1}\n\n{"id": 2}\n',
        b'\xef\xbb\xbf\n [{"id": 1},\n {"id": 2}]',
        b'{"data": [{"id": 1}, {"id": 2}], "meta": {"page": 1}}',
        b'{\n  "runs": [\n    {"id": 1},\n    {"id": 2}\n  ]\n}\n',
        b'[{"data": [{"id": 1}]}, {"data": [{"id": 2}]}]',
        b'{\r\n  "id": 1\r\n}\r\n{\r\n  "id": 2\r\n}\r\n',
    ],
)
def test_lines_arrays_and_pages_are_told_apart_by_what_they_begin_with(tmp_path: Path, content: bytes) -> None:
    """Whatever the file is called, and inside gzip too."""
    (tmp_path / "a").write_bytes(content)
    (tmp_path / "b").write_bytes(gzip.compress(content))

    assert list(read_rows(tmp_path / "a")) == list(read_rows(tmp_path / "b")) == TWO


def test_an_array_is_read_element_by_element(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Elements longer than what is read at once, and cut anywhere, come out whole."""
    monkeypatch.setattr(module, "CHUNK", 7)
    (tmp_path / "a").write_text('[{"id": 1, "text": "a ] b, \\" c"}, {"id": 2, "list": [1, [2]]}]')

    assert list(read_rows(tmp_path / "a")) == [{"id": 1, "text": 'a ] b, " c'}, {"id": 2, "list": [1, [2]]}]


def test_what_is_no_row_is_said_and_the_rest_goes_on(tmp_path: Path) -> None:
    """A broken line costs that line; an array that breaks off, what comes after."""
    (tmp_path / "lines").write_bytes(b'{"id": 1}\n{"id": \n7\n{"id": 2}\n')
    (tmp_path / "array").write_bytes(b'[{"id": 1}, {"id": 2}, {"id"')
    (tmp_path / "table").write_bytes(b"id,name\n1,a\n2\n3,\n")

    assert [row for row in read_rows(tmp_path / "lines") if isinstance(row, dict)] == TWO
    assert [row.reason for row in read_rows(tmp_path / "lines") if isinstance(row, Unreadable)] == [
        "a line that is not JSON",
        "a row that is no object",
    ]
    assert [isinstance(row, dict) for row in read_rows(tmp_path / "array")] == [True, True, False]
    assert list(read_rows(tmp_path / "table")) == [
        {"id": "1", "name": "a"},
        Unreadable("a line with more or fewer fields than the header"),
        {"id": "3"},
    ]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table_has_the_fields_its_header_has(tmp_path: Path, delimiter: str) -> None:
    """Whatever stands between them; the others may stand in them."""
    lines = ("id name,x note", '1 "a;b" c')
    (tmp_path / "table").write_text("\n".join(line.replace(" ", delimiter) for line in lines).replace(",x", ""))

    assert list(read_rows(tmp_path / "table")) == [{"id": "1", "name": "a;b", "note": "c"}]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"id": 1}'.encode("utf-16"), "two bytes a character"),
        (b"<!DOCTYPE html>\n<p>Sign in</p>", "is a page"),
        (b"PK\x03\x04\0\0", "neither text nor Parquet"),
        (gzip.compress(b"PK\x03\x04\0\0", mtime=0), "neither text nor Parquet"),
    ],
)
def test_what_is_no_export_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    """With what to do about it."""
    (tmp_path / "a").write_bytes(content)

    with pytest.raises(SettingsError, match=said) as refusal:
        list(read_rows(tmp_path / "a"))
    assert refusal.value.hint


def test_a_file_that_breaks_off_or_is_not_there_is_named(tmp_path: Path) -> None:
    """Compressed data that ends early, Parquet that is none, an archive."""
    (tmp_path / "cut.gz").write_bytes(gzip.compress(b'{"id": 1}\n' * 1000)[:-9])
    (tmp_path / "cut.parquet").write_bytes(b"PAR1 and nothing else")
    (tmp_path / "archive.zip").write_bytes(b"PK\x03\x04\x14\0\0\0\x08\0" + bytes(90))

    for name in ("cut.gz", "cut.parquet", "missing", "archive.zip"):
        with pytest.raises(SettingsError, match=name):
            list(read_rows(tmp_path / name))
