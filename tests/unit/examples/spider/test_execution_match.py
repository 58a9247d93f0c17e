"""Execution match holds what the gold query gives against what another gives, and nothing a query does ends it."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from examples.spider.database import Limits, QueryFailed, run_query, show
from examples.spider.execution_match import execution_match, same_result
from examples.spider.questions import Restriction, load

FIXTURES = Path(__file__).parents[3] / "fixtures" / "tasks"
PLACES = [FIXTURES, *(Path(place) for place in [os.environ.get("SPANLOOP_DATASETS", "")] if place)]
"""The slice beside the tests; all rows where SPANLOOP_DATASETS names them."""

SMALL = Limits(instructions=2_000_000)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a database of odd values."""
    path = tmp_path_factory.mktemp("db") / "odd #1?.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("create table t (id integer, name text, age integer, score real)")
        connection.executemany(
            "insert into t values (?, ?, ?, ?)",
            [(1, "Ada", 36, 1.0), (2, "Ben", None, 0.0), (3, "Ben", 36, None), (4, "", 0, 2.5)],
        )
        connection.execute("insert into t values (5, cast(x'4be96c6e' as text), 7, 1)")  # no UTF-8
        connection.commit()
    return path


@pytest.mark.parametrize("place", PLACES, ids=str)
@pytest.mark.parametrize("split", ["train", "dev_seen", "dev"])
def test_the_gold_query_matches_itself_on_every_row(place: Path, split: str) -> None:
    """And an empty answer, a constant and a query that gives nothing match next to none."""
    questions = load(place, split)  # type: ignore[arg-type]

    assert [one.id for one in questions if not execution_match(one.database, one.gold, one.gold)] == []
    for constant, most in (("", 0.0), ("SELECT 1", 0.3), ("SELECT 1 WHERE 0", 0.0)):
        matched = [execution_match(one.database, constant, one.gold) for one in questions]
        assert sum(matched) <= most * len(questions)
    assert len(load(place, split, Restriction(one_table=True))) <= len(questions)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("predicted", "gold", "matches"),
    [
        # Columns may be permuted, rows too unless the gold query orders them.
        ("select name, id from t", "select id, name from t", True),
        ("select id from t order by id desc", "select id from t", True),
        ("select id from t order by id desc", "select id from t order by id", False),
        ("select id from t where id < 3 order by id", "select id from t where id < 3 ORDER\nBY id", True),
        ("select name, id from t order by id", "select id, name from t order by id", True),
        ("select id, id from t", "select id, age from t", False),
        ("select id, name, id from t", "select id, id, name from t", True),
        # Rows are a multiset, and DISTINCT is removed from both.
        ("select age from t where age = 36", "select 36", False),
        ("select distinct name from t", "select name from t", True),
        ("select count(distinct name) from t", "select count(name) from t", True),
        ("select name from t group by name", "select name from t", False),
        ("select 'distinct x'", "select 'x'", False),
        ("select id from t where age is not distinct from null", "select 2", True),
        # Ties come as the gold query's do: the published rule is strict.
        ("select name from t where age = 36 order by age, id", "select name from t where age = 36 order by age", True),
        ("select id from t where age = 36 order by id desc", "select id from t where age = 36 order by age", False),
        # NULL is nothing but NULL, numbers are numbers, text is text.
        ("select null", "select 0", False),
        ("select null", "select ''", False),
        ("select null", "select null", True),
        ("select 1", "select 1.0", True),
        ("select '1'", "select 1", False),
        ("select x'31'", "select '1'", False),
        ("select 1 / 2.0", "select 0.5", True),
        # Spellings that the evaluator mends.
        ("select id from t where age > = 36", "select id from t where age >= 36", True),
        ("select YEAR(CURDATE())", "select 2020", True),
        # One statement, with what may stand behind it.
        ("select id from t; -- that is it", "select id from t", True),
        ("select id from t;", "select id from t", True),
        ("select id from t; select id from t", "select id from t", False),
        # Nothing there equals nothing there, whatever the columns.
        ("select id, name from t where 0", "select id from t where 0", True),
        ("select id from t where 0", "select id from t", False),
        # What is no query.
        ("", "select 1", False),
        ("this is no SQL", "select 1", False),
        ("select \0 1", "select 1", False),
        ("select '\ud800'", "select 1", False),
        ("select nowhere from t", "select 1", False),
    ],
)
def test_what_matches(database: Path, predicted: str, gold: str, matches: bool) -> None:
    """By result, not by text."""
    assert execution_match(database, predicted, gold) is matches


@pytest.mark.parametrize(
    "sql",
    [
        "delete from t",
        "insert into t values (9, '', 1, 1)",
        "drop table t",
        "create table u (a)",
        "create temp table u (a)",
        "attach database ':memory:' as other",
        "attach database '/tmp/written-by-a-query.sqlite' as other",
        "pragma writable_schema = 1",
        "pragma table_info(t)",
        "vacuum into '/tmp/written-by-a-query.sqlite'",
        "begin",
        "with x as (select 1) delete from t",
        "explain delete from t",
        "select load_extension('x')",
        "select writefile('/tmp/written-by-a-query.sqlite', 'x')",
    ],
)
def test_a_query_only_reads(database: Path, sql: str) -> None:
    """Whatever else it tries is refused, and the file is what it was."""
    before = database.read_bytes()

    with pytest.raises(QueryFailed):
        run_query(database, sql)
    assert database.read_bytes() == before
    assert not Path("/tmp/written-by-a-query.sqlite").exists()
    assert execution_match(database, sql, "select 1") is False


@pytest.mark.parametrize(
    "sql",
    [
        "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n",
        "with recursive n(i) as (select 1 union all select i + 1 from n) select i from n order by i desc",
        "select count(*) from t a, t b, t c, t d, t e, t f, t g, t h, t i, t j, t k",
        "with recursive n(i) as (select 1 union all select i + 1 from n) select i from n",
        "select zeroblob(1000000000)",
        "select replace(hex(zeroblob(400000)), '0', 'xxxxxxxx')",
        "select " + "(" * 5000 + "1" + ")" * 5000,
        "select 1 -- " + "x" * 2_000_000,
    ],
)
def test_what_never_ends_or_is_huge_is_cut_off(database: Path, sql: str) -> None:
    """In bounded time and memory, and it matches nothing."""
    with pytest.raises(QueryFailed):
        run_query(database, sql, SMALL)
    assert execution_match(database, sql, "select 1", SMALL) is False


def test_a_query_is_cut_off_at_the_same_point_every_time(database: Path) -> None:
    """By work, not by time: what scores here scores on a slow machine."""
    numbers = "with recursive n(i) as (select 1 union all select i + 1 from n where i < {}) select max(i) from n"

    assert run_query(database, numbers.format(10_000), SMALL) == [(10_000,)]
    for _ in range(2):
        with pytest.raises(QueryFailed, match="too long"):
            run_query(database, numbers.format(1_000_000), SMALL)


def test_text_that_is_not_utf_8_is_read_as_far_as_it_can_be(database: Path) -> None:
    """And the database may have any name."""
    assert run_query(database, "select name from t where id = 5") == [("Kln",)]


def test_a_missing_database_is_said_to_be_missing(tmp_path: Path) -> None:
    """It is never made, and no answer is scored against it."""
    with pytest.raises(FileNotFoundError, match="no database"):
        execution_match(tmp_path / "none.sqlite", "select 1", "select 1")
    with pytest.raises(FileNotFoundError, match="--datasets"):
        load(tmp_path, "dev")
    assert list(tmp_path.iterdir()) == []


def test_many_columns_alike_take_no_time() -> None:
    """Of n columns that are the same no n! arrangements are tried."""
    alike = [tuple([1] * 40 + [row]) for row in range(50)]
    other = [tuple([1] * 40 + [row + 1]) for row in range(50)]

    assert same_result(alike, [row[::-1] for row in alike], order_matters=False)
    assert not same_result(alike, other, order_matters=False)


def test_columns_alike_by_themselves_are_told_apart_by_their_rows() -> None:
    """Each column has the same values; only together they differ."""
    found = [(1, 1, "a"), (2, 2, "b")]

    assert not same_result(found, [(1, 2, "a"), (2, 1, "b")], order_matters=False)


def test_a_result_is_shown_within_its_bounds() -> None:
    """However many rows and however long a text."""
    assert show([], max_rows=3, max_chars=10) == "(no rows)"
    assert len(show([("x" * 10_000,)] * 10, max_rows=3, max_chars=80)) == 80
