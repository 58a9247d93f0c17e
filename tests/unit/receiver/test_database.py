"""A database that reaches the day files and nothing else, and what dead processes left on the disk."""

import os
from pathlib import Path

import duckdb
import pytest

from receiver.database import open_database, remove_dead_temps, temp_path

ALIVE = os.getpid()


@pytest.mark.parametrize(
    "sql",
    [
        "select * from read_csv('{outside}/secret.csv')",
        "select * from '{data}/keys.json'",
        "copy (select 1) to '{outside}/x.csv'",
        "attach '{outside}/x.duckdb'",
        "attach '{data}/spans/../x.duckdb'",
        "set enable_external_access = true",
        "set memory_limit = '1TB'",
        "set allowed_directories = ['/']",
        "install httpfs",
        "load httpfs",
    ],
)
def test_no_statement_reaches_further(tmp_path: Path, sql: str) -> None:
    """Not beside the day files, not by a path through them, not by lifting what forbids it."""
    data, outside = tmp_path / "data", tmp_path / "outside"
    (data / "spans").mkdir(parents=True)
    outside.mkdir()
    (outside / "secret.csv").write_text("a\n1\n")
    (data / "keys.json").write_text("[]")

    with open_database(data, memory_limit="100MB") as database, pytest.raises(duckdb.Error):
        database.execute(sql.format(data=data, outside=outside)).fetchall()

    assert not (outside / "x.csv").exists()


def test_a_directory_with_quotes_in_its_name_is_a_directory(tmp_path: Path) -> None:
    """And the one directory for copies is the only other place."""
    data, copies = tmp_path / "it's", tmp_path / "copies"
    (data / "spans").mkdir(parents=True)
    copies.mkdir()

    with open_database(data, memory_limit="100MB", writable=copies) as database:
        for path in (data / "spans" / "a.duckdb", copies / "b.duckdb"):
            quoted = str(path).replace("'", "''")
            database.execute(f"attach '{quoted}'")

    assert (copies / "b.duckdb").exists()


def test_a_python_variable_is_no_table(tmp_path: Path) -> None:
    """DuckDB would look for one in whoever called it."""
    secret = {"a": [1]}
    assert secret
    with open_database(tmp_path, memory_limit="100MB") as database, pytest.raises(duckdb.CatalogException):
        database.execute("select * from secret")


def test_what_dead_processes_spilled_goes_and_a_living_ones_stays(tmp_path: Path) -> None:
    """And what is no process's at all is left alone."""
    dead = 2**22 + 1  # above the kernel's largest number
    for name in (str(ALIVE), str(dead), "notes"):
        (tmp_path / "sql-temp" / name / "ab").mkdir(parents=True)

    remove_dead_temps(tmp_path)

    assert temp_path(tmp_path, ALIVE).exists()
    assert sorted(path.name for path in (tmp_path / "sql-temp").iterdir()) == sorted([str(ALIVE), "notes"])
