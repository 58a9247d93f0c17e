"""A database as queries see it."""

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from receiver.database import open_database
from receiver.decode.arrow import SCHEMAS
from receiver.query.views import create_views


@pytest.fixture
def database(tmp_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    connection = open_database(tmp_path, memory_limit="200MB")
    create_views(connection, tmp_path, [], {table: [] for table in SCHEMAS})
    yield connection
    connection.close()
