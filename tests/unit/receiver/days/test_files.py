"""Day files of earlier releases."""

from pathlib import Path

import duckdb

from receiver.days.files import day_files
from receiver.schema import SCHEMA_VERSION, connect
from tests.unit.receiver.days.three_days import three_days


def test_files_of_the_first_version_are_brought_up_to_date(tmp_path: Path) -> None:
    """By the numbered steps, at the next start or the next reading, sealed days too; nothing of them is lost."""
    three_days(tmp_path).store.close()
    for path in day_files(tmp_path).values():
        with duckdb.connect(str(path)) as old:
            for table in ("spans", "log_records"):
                for column in ("resource_schema_url", "scope_schema_url", "resource_dropped_attributes_count"):
                    old.execute(f"alter table {table} drop column {column}")
                old.execute(f"alter table {table} drop column scope_dropped_attributes_count")
            old.execute("alter table log_records drop column scope_attributes")
            old.execute("update schema_version set version = 1")

    reader = connect(tmp_path)
    rows = reader.query("select name, scope_schema_url, scope_dropped_attributes_count as dropped from spans")
    reader.close()

    assert rows.to_pylist() == [{"name": "x" * 50, "scope_schema_url": None, "dropped": 0}] * 3
    for path in day_files(tmp_path).values():
        with duckdb.connect(str(path), read_only=True) as new:
            assert new.execute("select version from schema_version").fetchall() == [(SCHEMA_VERSION,)]
