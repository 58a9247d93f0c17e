"""A database that reaches the day files and nothing else, and what dead processes left on the disk."""

import os
from pathlib import Path

import duckdb
import pytest

from receiver.database import bound_cache, open_database, remove_dead_temps, temp_path

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


def cached_bytes(database: duckdb.DuckDBPyConnection) -> int:
    found = database.execute("select memory_usage_bytes from duckdb_memory() where tag = 'BASE_TABLE'").fetchall()
    return int(found[0][0])


def test_what_is_kept_of_files_in_memory_is_bounded_and_the_limit_is_what_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows are read again out of the file; no other setting can be changed."""
    monkeypatch.setattr("receiver.database.CACHE_BYTES", 4 << 20)
    (tmp_path / "spans").mkdir()
    with open_database(tmp_path, memory_limit="300MB", has_bounded_cache=True) as database:
        database.execute(f"attach '{tmp_path}/spans/a.duckdb' as day (row_group_size 4096)")
        database.execute("create table day.spans as select md5(range::varchar) as id from range(300000)")
        limit = database.execute("select current_setting('memory_limit')").fetchall()
        before = cached_bytes(database)

        bound_cache(database, memory_limit="300MB")

        assert cached_bytes(database) <= 4 << 20 < before
        assert database.execute("select current_setting('memory_limit')").fetchall() == limit
        assert database.execute("select count(distinct id) from day.spans").fetchall() == [(300_000,)]
        with pytest.raises(duckdb.Error, match="locked"):
            database.execute("set enable_external_access = true")


def test_a_cache_all_of_which_is_being_read_stays_and_so_does_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is asked of a database whose memory others hold."""
    monkeypatch.setattr("receiver.database.CACHE_BYTES", 0)
    (tmp_path / "spans").mkdir()
    with open_database(tmp_path, memory_limit="300MB", has_bounded_cache=True) as database:
        database.execute(f"attach '{tmp_path}/spans/a.duckdb' as day")
        database.execute("create table day.spans as select range as id from range(300000)")
        reading = database.cursor().sql("select id from day.spans order by id").to_arrow_reader(1000)
        reading.read_next_batch()
        limit = database.execute("select current_setting('memory_limit')").fetchall()

        bound_cache(database, memory_limit="300MB")

        assert database.execute("select current_setting('memory_limit')").fetchall() == limit
        assert sum(batch.num_rows for batch in reading) == 299_000


def test_what_dead_processes_spilled_goes_and_a_living_ones_stays(tmp_path: Path) -> None:
    """And what is no process's at all is left alone."""
    dead = 2**22 + 1  # above the kernel's largest number
    for name in (str(ALIVE), str(dead), "notes"):
        (tmp_path / "sql-temp" / name / "ab").mkdir(parents=True)

    remove_dead_temps(tmp_path)

    assert temp_path(tmp_path, ALIVE).exists()
    assert sorted(path.name for path in (tmp_path / "sql-temp").iterdir()) == sorted([str(ALIVE), "notes"])
