"""Whole imports: what is stored, what is refused, and that nothing is where a file is of another kind."""

from pathlib import Path

import pytest

from foundation.errors import SettingsError
from receiver.history.importing import import_history
from receiver.reading.opening import reading
from tests.history import write_lines
from tests.unit.receiver.history.test_langfuse import OBSERVATIONS, SCORES


def stored(data: Path) -> tuple[int, int]:
    with reading(data) as reader:
        asked = "select (select count(*) from spans) as spans, (select count(*) from log_records) as records"
        (row,) = reader.query(asked).to_pylist()
    return row["spans"], row["records"]


def test_importing_twice_changes_nothing(tmp_path: Path) -> None:
    """The ids are the vendor's, or made of them, and the times too."""
    files = [write_lines(tmp_path / "o.jsonl", OBSERVATIONS), write_lines(tmp_path / "s.jsonl", SCORES)]

    outcomes = [import_history("langfuse", files, tmp_path / "data") for _ in range(2)]

    assert outcomes[0] == outcomes[1]
    assert stored(tmp_path / "data") == (len(OBSERVATIONS), len(SCORES))


def test_nothing_is_stored_where_one_file_is_of_another_kind(tmp_path: Path) -> None:
    """The message says what was found there, and what is read."""
    good = write_lines(tmp_path / "o.jsonl", OBSERVATIONS)
    (tmp_path / "other.jsonl").write_text('{"colour": "red"}\n')

    with pytest.raises(SettingsError, match=r"other\.jsonl has no rows of langfuse's: the first has the fields colour"):
        import_history("langfuse", [good, tmp_path / "other.jsonl"], tmp_path / "data")

    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("content", ["", "\n", "[]", '{"data": []}'])
def test_what_holds_nothing_is_refused(tmp_path: Path, content: str) -> None:
    """Empty files, arrays and pages."""
    (tmp_path / "empty.json").write_text(content)

    with pytest.raises(SettingsError, match="nothing to import"):
        import_history("langfuse", [tmp_path / "empty.json"], tmp_path / "data")
    with pytest.raises(SettingsError, match="no files"):
        import_history("langfuse", [], tmp_path / "data")
    assert not (tmp_path / "data").exists()
