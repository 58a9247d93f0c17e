"""Rows as text: every value has a form, every column its own name."""

import json

import duckdb
import pytest

from foundation import rows


def ask(sql: str):  # type: ignore[no-untyped-def]
    return duckdb.connect().sql(sql).to_arrow_table()


def test_columns_of_one_name_stay_apart_and_in_their_place() -> None:
    """JSON tells them apart by a number; CSV and tables go by position."""
    found = ask("select 1 as a, 2 as b, 3 as a")

    assert json.loads(rows.as_json(found)) == [{"a": 1, "b": 2, "a_1": 3}]
    assert rows.as_csv(found) == b'"a","b","a"\n1,2,3\n'
    assert rows.as_cells(found) == [["1", "2", "3"]]


def test_a_sum_is_a_number_whatever_its_size() -> None:
    """Digit by digit, where JSON's readers can take it."""
    found = ask("select sum(i) as s, 170141183460469231731687303715884105727 as h, 1.50 as d from range(10) t(i)")

    assert rows.as_json(found) == b'[{"s":45,"h":170141183460469231731687303715884105727,"d":1.50}]'


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("interval 3 day", "P0M3DT0S"),
        ("'infinity'::timestamp", "infinity"),
        ("'-infinity'::timestamptz", "-infinity"),
        ("'infinity'::date", "infinity"),
        ("timestamp '290000-01-01'", "290000-01-01T00:00:00.000000"),
        ("time '10:00'", "10:00:00"),
        (r"'\xAA'::blob", "aa"),
        ("null", None),
    ],
)
def test_values_without_a_json_form_are_spelled(value: str, text: str | None) -> None:
    """Alone, in a list and in a struct, in every format."""
    found = ask(f"select {value} as v, [{value}] as l, {{'s': {value}}} as t")

    assert json.loads(rows.as_json(found)) == [{"v": text, "l": [text], "t": {"s": text}}]
    assert (text or "").encode() in rows.as_csv(found)
    assert rows.as_cells(found)[0][0] == (text or "")


def test_no_rows_are_an_empty_array() -> None:
    """And a header alone."""
    found = ask("select 1 as a where false")

    assert (rows.as_json(found), rows.as_csv(found), rows.as_cells(found)) == (b"[]", b'"a"\n', [])
