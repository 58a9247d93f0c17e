"""Every published column says what it means, in the reference and in DuckDB."""

from pathlib import Path

import duckdb
import polars as pl

from etl.columns import TABLES
from etl.published.publish import publish, write_part
from etl.published.window import Window
from etl.schema import column_comments
from etl.settings import EtlConfig
from etl.transform import transform
from receiver.query.views import DATASET_TABLES, create_views
from receiver.schema import TABLES as RECEIVED
from tests.spans import llm, logs_frame, spans_frame


def test_every_column_has_a_meaning_and_an_own_name() -> None:
    """None is left to guess."""
    for table, declared in TABLES.items():
        assert len({column.name for column in declared}) == len(declared), table
        assert all(len(column.description) > len("a b c") for column in declared), table


def test_views_carry_the_meanings(tmp_path: Path) -> None:
    """Of the ETL's tables, from the file it publishes beside them, and of the receiver's."""
    dataset = transform(spans_frame([llm("a")]), logs_frame(), EtlConfig(complete_after=0))
    window = Window(1, 1)
    publish(tmp_path, window, [("default", "t")], [write_part(tmp_path, window, dataset)], [], 1)
    connection = duckdb.connect()

    create_views(connection, tmp_path, [], {table: [] for table in RECEIVED})

    said = dict(
        connection.execute(
            "select table_name || '.' || column_name, comment from duckdb_columns() where database_name = 'temp'"
        ).fetchall()
    )
    published = {table for table in DATASET_TABLES if isinstance(dataset.tables[table], pl.DataFrame)}
    shown = {name.split(".")[0] for name in said} & published
    assert "transitions" in shown
    for table in shown:
        for name, meaning in column_comments()[table].items():
            assert said[f"{table}.{name}"] == meaning
    assert said["spans.trace_id"] == "32 hex digits"
