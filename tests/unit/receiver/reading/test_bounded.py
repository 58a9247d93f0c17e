"""SQL over the files with a server's bounds: what may be asked, who sees what, and that files are let go again."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from foundation.errors import SettingsError
from receiver.decode.otlp import Signal, read_protobuf
from receiver.pipeline import Pipeline
from receiver.query.run import QueryTooExpensive
from receiver.reading.bounded import FileQueries
from tests.export_requests import span, traces


def store(data: Path, name: str, project: str) -> None:
    pipeline = Pipeline(data)
    body = traces(span(len(name), name=name)).SerializeToString()
    pipeline.submit(read_protobuf(Signal.TRACES, body), project).result(10)
    pipeline.close()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("bounded")
    store(made, "shop-span", "shop")
    store(made, "bank", "bank")
    return made


@pytest.fixture(scope="module")
def queries(data: Path) -> Iterator[FileQueries]:
    asked = FileQueries(data, timeout_s=15, max_rows=10)
    yield asked
    asked.close()


def ask(queries: FileQueries, sql: str, *parameters: Any, project: str | None = None) -> Any:
    return json.loads(b"".join(queries.answer(sql, list(parameters), "json", project)))


def test_a_project_sees_its_own_and_a_receiver_can_start_between_two_statements(
    data: Path, queries: FileQueries
) -> None:
    """The process that answers keeps no file open; and what arrives meanwhile is seen."""
    assert ask(queries, "select name from spans where name <> ?", "x", project="shop") == [{"name": "shop-span"}]

    store(data, "later", "shop")

    assert ask(queries, "select count(*) as n from spans") == [{"n": 3}]


def test_statements_are_checked_and_bounded(queries: FileQueries) -> None:
    """As the receiver does."""
    with pytest.raises(SettingsError, match="cannot be read from"):
        ask(queries, "select * from read_csv('/etc/passwd')")
    with pytest.raises(QueryTooExpensive, match="more than 10 rows"):
        ask(queries, "select * from range(11)")


def test_a_result_can_be_parquet(queries: FileQueries) -> None:
    """For a notebook, with its types."""
    content = b"".join(queries.answer("select 1::bigint as n, 'a' as name", [], "parquet", None))

    assert parquet.read_table(io.BytesIO(content)).to_pylist() == [{"n": 1, "name": "a"}]
