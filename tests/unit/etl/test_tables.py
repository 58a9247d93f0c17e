"""Frames in the published columns, whatever the values."""

import json

import polars as pl

from etl.schema import TABLES
from etl.tables import ORDER, columns, in_order, json_text, polars_schema, scan


def test_lists_are_laid_out_as_polars_would() -> None:
    """Null, empty and filled, in one column."""
    schema = {"ids": "List(Int32)", "text": "String", "logprobs": "List(Float32)", "names": "List(String)"}
    rows = [
        {"ids": [1, 2], "text": "a", "logprobs": [-0.5], "names": ["x"]},
        {"ids": None, "text": None, "logprobs": [], "names": None},
        {"ids": [], "text": "b", "logprobs": None, "names": ["y", "z"]},
    ]

    for some in (rows, rows[1:2], []):
        assert columns(schema, some).equals(pl.DataFrame(some, schema=polars_schema(schema)))


def test_every_table_has_an_order_of_its_own_columns() -> None:
    """So that the same window gives the same bytes."""
    assert ORDER.keys() == TABLES.keys()
    for table, names in ORDER.items():
        assert set(names) <= TABLES[table].keys()


def test_rows_are_in_one_order_whatever_theirs_was() -> None:
    """What is null comes last."""
    rows = columns(TABLES["episodes"], [dict.fromkeys(TABLES["episodes"]) | {"project": p, "episode_id": e}
        for p, e in (("b", "1"), (None, "1"), ("a", "2"), ("a", "1"))])  # fmt: skip

    found = in_order("episodes", rows).select("project", "episode_id").rows()

    assert found == [("a", "1"), ("a", "2"), ("b", "1"), (None, "1")]
    assert in_order("episodes", rows.reverse()).equals(in_order("episodes", rows))


def test_a_column_that_came_later_is_null_in_files_of_before(tmp_path: object) -> None:
    """And no files are no rows."""
    assert scan("episodes", []).collect().height == 0
    assert scan("episodes", []).collect_schema() == polars_schema(TABLES["episodes"])


def test_whatever_json_has_no_form_for_becomes_text() -> None:
    """Integers beyond 64 bits, half an emoji, objects; null stays null."""
    assert json_text(None) is None
    assert json_text({"a": [1, "é"]}) == '{"a":[1,"é"]}'
    for odd in (2**70, chr(0xD800), {"a": object()}):
        assert json.loads(str(json_text(odd))) is not None
