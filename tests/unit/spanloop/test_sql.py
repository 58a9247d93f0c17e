"""`spanloop sql` prints rows as a reader or a program takes them."""

import json
from pathlib import Path

import pytest

from foundation.errors import SpanloopError
from spanloop.sql import MAX_TABLE_ROWS, sql


def test_a_table_is_cut_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the way to all of them; one that is whole says nothing."""
    sql(f"select range as n from range({MAX_TABLE_ROWS})", data=tmp_path)
    assert "--format csv" not in capsys.readouterr().out

    sql(f"select range as n from range({MAX_TABLE_ROWS + 1})", data=tmp_path)

    out = capsys.readouterr().out
    assert f"{MAX_TABLE_ROWS} of {MAX_TABLE_ROWS + 1} rows; --format csv" in out
    assert f" {MAX_TABLE_ROWS} " not in out.partition(" rows; ")[0].rpartition("\n")[0]


@pytest.mark.parametrize("text", ["[red]x[/red]", "[/x]"])
def test_brackets_are_text(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    """In cells and in the names of columns: they are no markup of ours."""
    sql(f"""select '{text}' as "{text}" """, data=tmp_path)

    assert capsys.readouterr().out.count(text) == 2


def test_programs_get_every_row(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """As JSON and as CSV, and nothing beside them on stdout."""
    statement = f"select range as n, null as nothing from range({MAX_TABLE_ROWS + 1})"

    sql(statement, data=tmp_path, format_="json")
    as_json = json.loads(capfdbinary.readouterr().out)
    sql(statement, data=tmp_path, format_="csv")
    as_csv = capfdbinary.readouterr().out.splitlines()

    assert as_json[-1] == {"n": MAX_TABLE_ROWS, "nothing": None}
    assert (as_csv[0], as_csv[-1], len(as_csv)) == (b'"n","nothing"', b"40,", MAX_TABLE_ROWS + 2)


def test_a_directory_that_is_not_there_has_empty_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And is not made by asking; a wrong statement says what is wrong."""
    sql("select count(*) + 7 as n from spans", data=tmp_path / "none")

    assert " 7 " in capsys.readouterr().out
    assert not (tmp_path / "none").exists()
    with pytest.raises(SpanloopError, match="no_such_table"):
        sql("select * from no_such_table", data=tmp_path)
