"""Whole imports: what is stored, what is refused, and that nothing is where a file is of another kind."""

import contextlib
import io
from pathlib import Path

import pytest

from foundation.errors import SettingsError
from receiver.history.aside import Aside
from receiver.history.importing import VENDORS, import_history
from receiver.history.records import Refused
from receiver.reading.opening import reading
from tests.history import write_lines
from tests.unit.receiver.history import test_langsmith, test_mlflow, test_openai, test_phoenix
from tests.unit.receiver.history.test_langfuse import OBSERVATIONS, SCORES

ROWS = {
    "langfuse": [*OBSERVATIONS, *SCORES],
    "langsmith": [*test_langsmith.ROWS, test_langsmith.FEEDBACK],
    "phoenix": [*test_phoenix.SPANS, test_phoenix.ANNOTATION],
    "mlflow": [test_mlflow.JSON],
    "openai": [
        test_openai.completion(1, test_openai.ASKED, test_openai.ANSWER),
        {"messages": [*test_openai.ASKED, test_openai.ANSWER]},
    ],
}


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


def test_a_row_belongs_to_one_product() -> None:
    """Else files of one would pass for another's."""
    assert ROWS.keys() == VENDORS.keys()
    for name, rows in ROWS.items():
        for row in rows:
            assert [vendor.name for vendor in VENDORS.values() if vendor.claims(row)] == [name]


@pytest.mark.parametrize("other", ["langsmith", "phoenix", "mlflow", "openai"])
def test_mixed_products_are_refused(tmp_path: Path, other: str) -> None:
    """One row of another product among good ones: the message says whose it is, and nothing is stored."""
    path = write_lines(tmp_path / "mixed.jsonl", [*OBSERVATIONS, *ROWS[other]])

    with pytest.raises(SettingsError, match=f"a row of {other}'s") as refusal:
        import_history("langfuse", [path], tmp_path / "data")

    assert f"spanloop import {other}" in str(refusal.value)
    assert not (tmp_path / "data").exists()


def test_scores_find_spans_that_were_imported_before(tmp_path: Path) -> None:
    """Feedback that names a run alone, in a later import than the run."""
    runs = write_lines(tmp_path / "runs.jsonl", test_langsmith.ROWS)
    feedback = write_lines(tmp_path / "feedback.jsonl", [test_langsmith.FEEDBACK])

    with pytest.raises(SettingsError, match="a score of a span that is neither"):
        import_history("langsmith", [feedback], tmp_path / "data")
    import_history("langsmith", [runs], tmp_path / "data")
    outcome = import_history("langsmith", [feedback], tmp_path / "data")

    assert (outcome.imported, outcome.scores) == (1, 1)
    assert stored(tmp_path / "data") == (len(test_langsmith.ROWS), 1)


@pytest.mark.parametrize("vendor", list(ROWS))
def test_fields_of_the_wrong_type_cost_their_row_alone(tmp_path: Path, vendor: str) -> None:
    """Each field in turn is another thing than documented: what can be read is, the rest is refused."""
    wrong = [7, "x", [1, {"a": None}], {"a": [{}]}, None, True, -1.5, "\u0000", {}, []]
    rows = [{**row, key: value} for row in ROWS[vendor] for key in row for value in wrong]
    claimed = [row for row in rows if VENDORS[vendor].claims(row)]
    aside = Aside(io.BytesIO(), vendor)

    for row in claimed:
        with contextlib.suppress(Refused):
            for record in VENDORS[vendor].read(row, 0):
                if not isinstance(record, Refused):
                    aside.add(record)

    assert claimed
