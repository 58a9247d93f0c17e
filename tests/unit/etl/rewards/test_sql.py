"""Rewards defined in SQL, and which sources a project listens to."""

from pathlib import Path

import pytest

from etl.rewards.sql import RewardQuery, read_queries
from etl.settings import EtlConfig
from etl.tables import Dataset
from etl.transform import transform
from foundation.errors import SettingsError
from tests.spans import Span, evaluation, identifier, llm, logs_frame, reward_record, span, spans_frame

SLOW = "select trace_id, 'slow' as name, -1.0 as value from spans where end_ns - start_ns > 5e9"


def run(*spans: Span, sql: str | None = None, sources: dict[str, list[str]] | None = None) -> Dataset:
    """Run the ETL with a query and an allow-list."""
    config = EtlConfig(complete_after=0, reward_sources=sources or {})
    queries = [] if sql is None else [RewardQuery(Path("slow.sql"), sql)]
    return transform(spans_frame(spans), logs_frame([reward_record(1.0)]), config, queries=queries)


def episode() -> list[Span]:
    """Return an episode that took nine seconds, with two rewards."""
    return [span("root", end=9, events=[evaluation(0.0, name="style")]), llm("a", parent="root")]


def test_a_query_over_the_spans_gives_rewards() -> None:
    """They are rewards like any other, with the file as their source."""
    rewards = run(*episode(), sql=SLOW).tables["rewards"].to_dicts()

    assert [(row["name"], row["value"], row["reason"]) for row in rewards if row["source"] == "sql:slow"] == [
        ("slow", -1.0, "not_the_outcome")
    ]


def test_a_query_may_judge_a_call() -> None:
    """With a span id its reward is that step's."""
    sql = f"select trace_id, span_id, 'short' as name, 0.5 as value from spans where span_id = '{identifier('a', 16)}'"

    assert run(*episode(), sql=sql).tables["transitions"]["reward_step"].to_list() == [0.5]


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("select trace_id from spans", "Return trace_id, name, value"),
        ("select nothing", "slow.sql"),
        ("from read_csv('/etc/passwd')", "slow.sql"),
        ("create table made (i integer)", "slow.sql returns Count"),
        (
            "select i::varchar as trace_id, 'a' as name, i as value from range(1e9::bigint) r(i)",
            "more than 1,000,000 rows",
        ),
        ("-- later", "slow.sql returns nothing"),
        ("select trace_id, 'a' as name, 'good' as value from spans", "slow.sql: value is VARCHAR, not a number"),
        ("select 7 as trace_id, 'a' as name, 1 as value", "slow.sql: trace_id is INTEGER, not text"),
        (
            "select trace_id, 'a' as name, 1 as value, now() as time_ns from spans",
            "slow.sql: time_ns is TIMESTAMP WITH TIME ZONE, not an integer",
        ),
        ("select trace_id, 'a' as name, 1 as value, 2 as value from spans", "each once"),
    ],
)
def test_a_query_that_cannot_be_used_says_which_file(sql: str, words: str) -> None:
    """Wrong columns, wrong SQL, files of the machine."""
    with pytest.raises(SettingsError) as error:
        run(*episode(), sql=sql)

    assert words in f"{error.value} {error.value.hint}"


def test_what_a_query_fails_on_is_not_shown() -> None:
    """DuckDB quotes the value it cannot convert, and that may be a prompt."""
    with pytest.raises(SettingsError) as error:
        run(*episode(), sql="select trace_id, 'a' as name, attributes::double as value from spans")

    assert str(error.value).startswith("slow.sql: ConversionException on some row")
    assert "gen_ai" not in str(error.value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [("true", 1.0), ("0.25::decimal(4, 2)", 0.25), ("3::hugeint", 3.0), ("7::utinyint", 7.0), ("null", None)],
)
def test_a_query_may_return_what_databases_call_a_number(value: str, expected: float | None) -> None:
    """A name that is null is none; rows about other traces are nobody's."""
    about = f"select trace_id, null as name, {value} as value from spans where name = 'root'"

    rewards = run(*episode(), sql=f"{about} union all select i::varchar, 'x', {value} from range(1000) r(i)")

    own = rewards.tables["rewards"].filter(source="sql:slow")
    assert own.select("name", "value").rows() == [("(unnamed)", expected)]


def test_only_allowed_sources_count() -> None:
    """The others are kept, with the reason."""
    dataset = run(*episode(), sources={"default": ["span_event"]})

    reasons = dict(dataset.tables["rewards"].select("source", "reason").iter_rows())
    assert reasons == {"span_event": "outcome", "log_record": "source_not_allowed"}
    assert dataset.tables["episodes"]["outcome"].to_list() == [0.0]


def test_a_project_that_is_not_named_takes_all() -> None:
    """The list of another project says nothing."""
    dataset = run(*episode(), sources={"other": []})

    assert dataset.tables["episodes"]["outcome"].to_list() == [1.0]


def test_queries_are_the_sql_files_of_a_directory(tmp_path: Path) -> None:
    """In order of name; a directory that is not there is a mistake in the settings."""
    (tmp_path / "b.sql").write_text("select 1")
    (tmp_path / "a.sql").write_text("select 2")
    (tmp_path / "notes.txt").write_text("not SQL")

    assert [query.source for query in read_queries(tmp_path)] == ["sql:a", "sql:b"]
    assert read_queries(None) == []
    with pytest.raises(SettingsError):
        read_queries(tmp_path / "gone")


def test_a_directory_of_no_readable_query_is_said(tmp_path: Path) -> None:
    """Rather than rewarding nothing: none there, a directory by that name, no text."""
    with pytest.raises(SettingsError, match=r"holds no \*.sql file"):
        read_queries(tmp_path)
    (tmp_path / "a.sql").mkdir()
    with pytest.raises(SettingsError, match=r"a.sql cannot be read: .*directory"):
        read_queries(tmp_path)
    (tmp_path / "a.sql").rmdir()
    (tmp_path / "a.sql").write_bytes(b"\xff\xfe select")
    with pytest.raises(SettingsError, match=r"a.sql cannot be read: .*utf-8"):
        read_queries(tmp_path)
