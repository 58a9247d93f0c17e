"""Which statements run, and that the database underneath would refuse the dangerous ones too."""

import duckdb
import pyarrow as pa
import pytest

from foundation.errors import SettingsError
from receiver.query import guard
from receiver.query import run as query
from receiver.query.run import Bounds

BOUNDS = Bounds(timeout_s=20, max_rows=1000, max_bytes=1 << 20)


@pytest.mark.parametrize(
    "sql",
    [
        "select 1",
        "from spans",
        "select count(*) from spans s join log_records l using (trace_id)",
        "with slow as (select * from traces where duration_s > 1) select * from slow",
        "with recursive n(i) as (select 1 union all select i + 1 from n where i < 5) select * from n",
        "select * from (values (1), (2)) t(i)",
        "select i from range(3) t(i)",
        "select unnest([1, 2])",
        "select e.value from spans, json_each(events) e",
        "select attributes->>'$.\"gen_ai.request.model\"' from spans",
        "describe spans",
        "summarize spans",
        "select * from spans tablesample 10%",
        "from spans using sample 3",
        "select * from spans where trace_id in (select trace_id from traces)",
    ],
)
def test_a_select_over_the_views_runs(database: duckdb.DuckDBPyConnection, sql: str) -> None:
    """Joins, subqueries, recursion and functions are all there."""
    query.collect(database, sql, None, BOUNDS)


DANGEROUS = [
    "select * from read_text('/etc/passwd')",
    "select * from read_csv('/etc/passwd')",
    "select * from read_blob('/etc/passwd')",
    "select * from '/etc/passwd'",
    "select * from 'secret.parquet'",
    "select * from glob('/*')",
    "select * from sniff_csv('/etc/passwd')",
    "select * from read_parquet('http://127.0.0.1:1/x.parquet')",
    "select (select max(content) from read_text('/etc/passwd'))",
    "select 1 limit (select count(*) from read_text('/etc/passwd'))",
    "with c as (from read_text('/etc/passwd')) select * from c",
    "with \"/etc/passwd\" as (select 1) select * from '/etc/passwd'",
    "with duckdb_databases as (select 1) select * from duckdb_databases",
    "copy spans to '/tmp/out.csv'",
    "copy spans from '/etc/passwd'",
    "export database '/tmp/out'",
    "import database '/tmp/out'",
    "attach '/tmp/x.duckdb'",
    "attach ':memory:' as other",
    "detach memory",
    "use memory",
    "install httpfs",
    "load httpfs",
    "set threads = 1",
    "set enable_external_access = true",
    "reset memory_limit",
    "pragma database_list",
    "pragma threads = 1",
    "call pragma_version()",
    "select current_setting('temp_directory')",
    "select getenv('HOME')",
    "select * from duckdb_settings()",
    "select * from duckdb_databases()",
    "select * from duckdb_secrets()",
    "select * from which_secret('s3://x', 's3')",
    "select * from pragma_database_size()",
    "select * from information_schema.tables",
    "select * from pg_catalog.pg_class",
    "select * from pg_class",
    "select * from sqlite_master",
    "select * from duckdb_tables",
    "select * from day_20260301.spans",
    "select * from memory.main.spans",
    "select * from hot_spans",
    "select * from query('select 1')",
    "select * from query_table('spans')",
    "select json_execute_serialized_sql('{}')",
    "select * from json_execute_serialized_sql(json_serialize_sql('select 1'))",
    "select json_serialize_plan('select * from read_text(''/etc/passwd'')')",
    "select * from python_map_function()",
    "create table t (i int)",
    "create temp table t as select 1",
    "create macro f() as 1",
    "create secret (type s3)",
    "insert into spans select * from spans",
    "update spans set name = ''",
    "delete from spans",
    "drop view spans",
    "truncate spans",
    "alter table spans rename to x",
    "vacuum",
    "checkpoint",
    "force checkpoint",
    "begin",
    "commit",
    "explain select 1",
    "explain analyze select 1",
    "prepare p as select 1",
    "execute p",
    "select 1; select 2",
    "select 1; drop view spans",
    "show tables",
    "select * from nowhere",
    "",
    ";",
    "select",
]


@pytest.mark.parametrize("sql", DANGEROUS)
def test_everything_else_is_refused_with_a_reason(database: duckdb.DuckDBPyConnection, sql: str) -> None:
    """Files, network, extensions, settings, catalog, several statements, SQL in strings, and whatever writes."""
    with pytest.raises(SettingsError) as refused:
        query.collect(database, sql, None, BOUNDS)
    assert refused.value.message


@pytest.mark.parametrize(
    "sql",
    [
        "select " + "+".join(["1"] * 500),
        "select " + "(" * 20_000 + "1" + ")" * 20_000,
        "select * from (" * 500 + "select 1" + ")" * 500,
        " union all ".join(["select 1"] * 500),
        "select 1 from range(9) t0 " + " ".join(f"join range(9) t{i} on true" for i in range(1, 500)),
        "select 'x" + "x" * guard.MAX_SQL_BYTES + "'",
    ],
    ids=["sum", "parentheses", "subqueries", "union", "joins", "text"],
)
def test_a_statement_that_would_keep_the_planner_busy_is_refused(database: duckdb.DuckDBPyConnection, sql: str) -> None:
    """The planner heeds no interrupt, so depth, length and number of sources are bounded before it."""
    with pytest.raises(guard.QueryRefused):
        query.collect(database, sql, None, BOUNDS)


@pytest.mark.parametrize(
    "sql",
    [
        "select * from read_text('/etc/passwd')",
        "select * from read_csv('/etc/passwd')",
        "select * from '/etc/passwd'",
        "select * from glob('/*')",
        "copy (select 1) to '/tmp/spanloop-out.csv'",
        "attach '/tmp/spanloop-x.duckdb'",
        "install httpfs",
        "load httpfs",
        "set enable_external_access = true",
        "set allowed_directories = ['/']",
        "set lock_configuration = false",
    ],
)
def test_the_database_itself_refuses_files_and_settings(database: duckdb.DuckDBPyConnection, sql: str) -> None:
    """The guard is not the only lock: without it these fail as well."""
    with pytest.raises(duckdb.Error):
        database.execute(sql).fetchall()


def test_objects_of_the_process_are_no_tables(database: duckdb.DuckDBPyConnection) -> None:
    """DuckDB for Python would read any frame in scope by its name; guard and database each refuse."""
    secret = pa.table({"key": ["sl_secret"]})

    with pytest.raises(SettingsError):
        query.collect(database, "select * from secret", None, BOUNDS)
    with pytest.raises(duckdb.Error):
        database.execute("select * from secret").fetchall()
    assert secret.num_rows == 1


def test_a_mistake_in_sql_is_the_callers_and_says_where(database: duckdb.DuckDBPyConnection) -> None:
    """Unknown columns, bad casts and missing parameters come back as DuckDB words them."""
    for sql in ("select nonsense from spans", "select 'x'::int", "select 1 where 1 = ?"):
        with pytest.raises(SettingsError):
            query.collect(database, sql, None, BOUNDS)


def test_a_view_of_the_etl_without_files_says_how_to_make_it(database: duckdb.DuckDBPyConnection) -> None:
    """The view is known, its files are not there yet."""
    with pytest.raises(guard.QueryRefused, match="episodes has no rows yet"):
        query.collect(database, "select * from episodes", None, BOUNDS)
