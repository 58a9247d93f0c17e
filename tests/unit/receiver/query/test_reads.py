"""What a statement reads is known only where it is plain."""

import duckdb
import pytest

from receiver.query import guard


@pytest.mark.parametrize(
    ("sql", "parameters", "traces"),
    [
        ("select * from spans where trace_id = 'a'", None, {"a"}),
        ("from spans s where s.trace_id = ? and name = 'x'", ["a"], {"a"}),
        ("select count(*) from spans where 'a' = trace_id limit 3", None, {"a"}),
        ("select * from traces where trace_id in ('a', $1) order by 1", ["b"], {"a", "b"}),
        ("select * from spans where trace_id = 5", None, None),
        ("select * from spans where trace_id = ?", [5], None),
        ("select * from spans where trace_id = ?", [], None),
        ("select * from spans where not trace_id = 'a'", None, None),
        ("select * from spans where trace_id = 'a' or name = 'x'", None, None),
        ("select * from spans where trace_id not in ('a')", None, None),
        ("select * from spans as s(trace_id, project) where trace_id = 'a'", None, None),
        ("select * from spans where trace_id = 'a' union all from spans", None, None),
        ("select (select count(*) from spans) from spans where trace_id = 'a'", None, None),
        ("select * from spans join spans b using (span_id) where spans.trace_id = 'a'", None, None),
        ("with a as (from spans) select * from a where trace_id = 'a'", None, None),
        ("select * from (from spans) where trace_id = 'a'", None, None),
    ],
)
def test_the_traces_a_statement_is_about_are_known_only_where_that_is_plain(
    database: duckdb.DuckDBPyConnection, sql: str, parameters: list[object] | None, traces: set[str] | None
) -> None:
    """A guess would leave rows out, so everything but a plain condition counts as reading all."""
    assert guard.needs(database, sql, parameters).traces == traces


def test_the_views_a_statement_names_are_known(database: duckdb.DuckDBPyConnection) -> None:
    """Wherever they stand, also below one another."""
    sql = "with a as (from traces) select (select count(*) from log_records), * from a join Spans using (trace_id)"

    assert guard.needs(database, sql).views == {"traces", "log_records", "spans"}


@pytest.mark.parametrize(
    ("sql", "parameters", "most"),
    [
        ("select name from spans limit 7", None, 7),
        ("select name from spans order by name limit ?", [5], 5),
        ("select name from spans", None, None),
        ("select name from spans limit 10%", None, None),
        ("select name from spans limit (select 3)", None, None),
        ("from spans union all (from spans limit 3)", None, None),
    ],
)
def test_the_most_rows_of_a_statement_are_known_where_it_says_so(
    database: duckdb.DuckDBPyConnection, sql: str, parameters: list[object] | None, most: int | None
) -> None:
    """By one LIMIT of a plain number."""
    assert guard.needs(database, sql, parameters).most_rows == most
