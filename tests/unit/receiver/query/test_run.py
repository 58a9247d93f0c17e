"""Queries that run: bounded, with bound parameters, in each form."""

import duckdb
import orjson
import pyarrow as pa
import pytest

from receiver.query import run as query
from receiver.query.run import Bounds, QueryTooExpensive
from tests.unit.receiver.query.test_guard import BOUNDS


def test_a_query_that_runs_too_long_is_interrupted(database: duckdb.DuckDBPyConnection) -> None:
    """The answer says so and what to do."""
    with pytest.raises(QueryTooExpensive, match=r"longer than 0\.3 s"):
        query.collect(
            database, "select count(*) from range(1000000000000) t(i) where i % 7 = 8", None, Bounds(0.3, 10, 1000)
        )


def test_a_result_with_too_many_rows_is_refused(database: duckdb.DuckDBPyConnection) -> None:
    """A result is whole or refused, never silently cut."""
    with pytest.raises(QueryTooExpensive, match="more than 1,000 rows"):
        query.collect(database, "select * from range(2000)", None, BOUNDS)


def test_a_result_too_large_is_refused(database: duckdb.DuckDBPyConnection) -> None:
    """Few rows can be large too."""
    with pytest.raises(QueryTooExpensive, match="larger than 1 MiB"):
        query.collect(database, "select repeat('x', 100000) from range(100)", None, BOUNDS)


def test_a_query_without_memory_is_refused(database: duckdb.DuckDBPyConnection) -> None:
    """DuckDB's own limit holds, and the answer is about the query, not a crash."""
    sql = "select list(i) from range(300000000) t(i)"
    with pytest.raises(QueryTooExpensive, match="memory"):
        query.collect(database, sql, None, BOUNDS)


def test_parameters_are_bound(database: duckdb.DuckDBPyConnection) -> None:
    """Values never become SQL."""
    table = query.collect(database, "select ? as word, ? as number", ["'; drop", 7], BOUNDS)

    assert table.to_pylist() == [{"word": "'; drop", "number": 7}]


def test_results_are_written_as_arrow_json_and_csv() -> None:
    """Nested values become JSON text in CSV; bytes become hex."""
    table = pa.table({"a": [1, None], "b": [[1, 2], []], "c": [b"\x00\xff", b""]})

    assert query.encode(table, "json") == b'[{"a":1,"b":[1,2],"c":"00ff"},{"a":null,"b":[],"c":""}]'
    assert pa.ipc.open_stream(query.encode(table, "arrow")).read_all().equals(table)
    assert b'"[1,2]"' in query.encode(table, "csv")
    assert query.encode(table.slice(0, 0), "json") == b"[]"
    long = pa.table({"i": range(query.BATCH_ROWS + 1)})
    assert orjson.loads(query.encode(long, "json")) == long.to_pylist()
