"""What a later stage has SQL show, and rows that stop half-way."""

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from foundation.errors import SpanloopError
from receiver.tables import HalfRead, literal, read_all, show_files, shown_files, shown_path


def test_shown_files_move_with_their_directory(tmp_path: Path) -> None:
    """Their names are written from there; a table without files is none."""
    files = {"episodes": [tmp_path / "a" / "dataset" / "episodes" / "p1.parquet"], "rewards": []}
    show_files(tmp_path / "a", files)
    (tmp_path / "a").rename(tmp_path / "b")

    assert shown_files(tmp_path / "b") == {"episodes": [tmp_path / "b" / "dataset" / "episodes" / "p1.parquet"]}


def test_before_anything_is_published_nothing_is_shown(tmp_path: Path) -> None:
    """Nor where a file stands in the directory's place."""
    assert shown_files(tmp_path) == {}
    (tmp_path / "dataset").touch()
    assert shown_files(tmp_path) == {}


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"{}", b'{"version": 1}', b'{"version": 1, "files": [1]}', b"\xff"]
)
def test_a_damaged_list_is_named_with_the_way_out(tmp_path: Path, content: bytes) -> None:
    """Half of one, or another thing."""
    shown_path(tmp_path).parent.mkdir()
    shown_path(tmp_path).write_bytes(content)

    with pytest.raises(SpanloopError, match="cannot be read") as refusal:
        shown_files(tmp_path)

    assert "etl run" in (refusal.value.hint or "")


def test_a_list_of_files_with_one_letter_changed_is_refused(tmp_path: Path) -> None:
    """A table that is not shown any more would pass for one without rows."""
    show_files(tmp_path, {"transitions": [tmp_path / "dataset" / "a.parquet"]})
    assert [*shown_files(tmp_path)] == ["transitions"]
    shown_path(tmp_path).write_text(shown_path(tmp_path).read_text().replace("transitions", "transitiont"))

    with pytest.raises(SpanloopError, match="cannot be read"):
        shown_files(tmp_path)


def test_a_later_layout_is_not_guessed_at(tmp_path: Path) -> None:
    """The message says which it is."""
    shown_path(tmp_path).parent.mkdir()
    shown_path(tmp_path).write_text(json.dumps({"version": 2, "files": {}}))

    with pytest.raises(SpanloopError, match="layout 2, this version reads 1"):
        shown_files(tmp_path)


def test_rows_that_stop_half_way_are_no_answer() -> None:
    """What fails is told in one error, whatever it was; our own stay what they are."""
    schema = pa.schema({"a": pa.int64()})

    def rows(error: Exception) -> Iterator[pa.RecordBatch]:
        yield pa.record_batch({"a": [1]}, schema)
        raise error

    for error, told in ((OSError("gone"), HalfRead), (SpanloopError("ours"), SpanloopError)):
        with pytest.raises(told):
            read_all(pa.RecordBatchReader.from_batches(schema, rows(error)))


def test_a_text_stays_a_text_in_sql() -> None:
    """Quotes in it end nothing."""
    assert literal("it's ''") == "'it''s '''''"
