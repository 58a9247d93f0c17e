"""Day files after they were written: sealed, compacted, retired, backed up, verified, migrated."""

from datetime import date, timedelta
from pathlib import Path

import duckdb
import pytest

from receiver.query.views import show
from receiver.schema import SCHEMA_VERSION, connect, spans_directory
from receiver.store import upkeep
from receiver.store.copying import Copying
from receiver.store.days import day_files, day_path, filter_path
from tests.export_requests import span
from tests.unit.receiver.store.test_landing import DAY, DAY_NS, Landing

FIRST = date(2026, 3, 1)


def three_days(data: Path) -> Landing:
    """Spans 1, 2, 3 received on three days in a row; the clock stands on the third."""
    landing = Landing(data)
    for number in range(3):
        landing.arrive(span(number + 1, name="x" * 50), received_ns=DAY + number * DAY_NS)
    landing.arrive_logs("hello", received_ns=DAY + 2 * DAY_NS)
    landing.store.land()
    return landing


def test_a_day_that_is_over_is_compacted_and_opens_for_others(tmp_path: Path) -> None:
    """Beside the queries that read it: same rows, read-only, known spans stay known, and nothing is done twice."""
    landing = three_days(tmp_path)
    with landing.store.snapshot() as taken:
        reading = show(taken)
        reading.execute("select span_id from spans")
        landing.store.seal(FIRST + timedelta(days=2))
        inode = day_path(tmp_path, FIRST).stat().st_ino
        landing.store.seal(FIRST + timedelta(days=2))
        landing.arrive(span(4, name="x" * 50), received_ns=DAY + 2 * DAY_NS)
        landing.store.land()
        assert sorted(reading.fetchall()) == [(f"{number:016x}",) for number in (1, 2, 3)]
        assert reading.execute("select count(*) from spans").fetchall() == [(3,)]
        assert landing.query("select count(*), count(distinct span_id) from spans") == [(4, 4)]
    assert sorted(landing.store._opened.pin().values()) == ["day_20260301_1", "day_20260302", "day_20260303"]

    with duckdb.connect(str(day_path(tmp_path, FIRST)), read_only=True) as other:
        assert other.execute("select count(*) from spans").fetchall() == [(1,)]
        assert other.execute("select count(*) from compacted").fetchall() == [(1,)]
    landing.store.seal(FIRST + timedelta(days=2))
    landing.arrive(span(1, name="x" * 50), received_ns=DAY + 2 * DAY_NS)
    assert day_path(tmp_path, FIRST).stat().st_ino == inode
    assert filter_path(tmp_path, FIRST).exists()
    assert landing.query("select count(*), count(distinct span_id) from spans") == [(4, 4)]


def test_a_day_is_removed_while_it_is_read(tmp_path: Path) -> None:
    """The file is gone at once; the query reads it to its end, the next one does without."""
    landing = three_days(tmp_path)
    with landing.store.snapshot() as taken:
        reading = show(taken)
        landing.store.retire([FIRST])
        assert not day_path(tmp_path, FIRST).exists()
        assert reading.execute("select count(*) from spans").fetchall() == [(3,)]
        assert landing.query("select count(*) from spans") == [(2,)]
    assert landing.store._opened._let_go == set()


def test_spans_land_while_a_backup_is_made(tmp_path: Path) -> None:
    """Neither waits for the other, and stopping a backup ends it."""
    landing = three_days(tmp_path)
    with landing.store.pinned() as (connection, days):
        connection.execute("begin")
        connection.execute(f"select count(*) from {days[FIRST]}.spans").fetchall()
        landing.arrive(span(4), received_ns=DAY + 2 * DAY_NS)
        landing.store.land()
        assert landing.store.num_hot_rows == 0
    copying = Copying(landing.store, tmp_path / "spans" / "backup-x", lambda _: True)
    copying.stop()
    copying.run()
    assert not (tmp_path / "spans" / "backup-x").exists()


def test_what_a_dead_backup_and_a_dead_compaction_left_goes_at_the_next_start(tmp_path: Path) -> None:
    """They may be as large as everything else together."""
    three_days(tmp_path).store.close()
    (tmp_path / "spans" / "backup-1234").mkdir()
    (tmp_path / "spans" / "backup-1234" / "2026-03-01.duckdb").touch()
    (tmp_path / "spans" / "2026-03-01.compacting").touch()

    Landing(tmp_path).store.close()

    assert {path.suffix for path in (tmp_path / "spans").iterdir()} == {".duckdb", ".ids"}


def test_a_sealed_day_keeps_its_rows_sorted_by_trace_part_by_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trace is found in few places, the day stays in the order of receipt, and a deleted row leaves no hole."""
    monkeypatch.setattr("receiver.store.upkeep.SORTED_ROWS", 4)
    landing = Landing(tmp_path)
    traces = [b"c", b"a", b"b"]
    for number in range(10):
        landing.arrive(span(number + 1, trace_id=traces[number % 3] * 16))
        landing.store.land()
    landing.arrive(span(2, trace_id=b"a" * 16, seconds=9))  # replaces an earlier version
    landing.store.land()

    landing.store.seal(FIRST + timedelta(days=2))

    with duckdb.connect(str(day_path(tmp_path, FIRST)), read_only=True) as sealed:
        rows = [
            (bytes.fromhex(trace)[:1], seq)
            for trace, seq in sealed.sql("select trace_id, received_seq from spans order by rowid").fetchall()
        ]
    assert sorted(seq for _, seq in rows) == [1, 3, 4, 5, 6, 7, 8, 9, 10, 11]
    parts = [rows[:3], rows[3:7], rows[7:]]  # of the first four rows one was replaced
    assert [sorted(part) for part in parts] == parts
    assert max(parts[0], key=lambda row: row[1])[1] < min(parts[1], key=lambda row: row[1])[1]


def test_what_is_past_its_time_or_too_much_is_removed_oldest_first(tmp_path: Path) -> None:
    """By age, by size, and never a day that still takes spans."""
    landing = three_days(tmp_path)
    today = FIRST + timedelta(days=9)
    size = {day: path.stat().st_size for day, path in day_files(tmp_path).items()}

    by_age = upkeep.expired(tmp_path, today=today, retain_days=8, retain_bytes=None)
    by_size = upkeep.expired(tmp_path, today=today, retain_days=None, retain_bytes=sum(size.values()) - 1)
    live = upkeep.expired(tmp_path, today=FIRST + timedelta(days=2), retain_days=None, retain_bytes=1)
    everything = upkeep.expired(tmp_path, today=today, retain_days=None, retain_bytes=None)
    landing.store.retire(by_age)

    assert by_age == [FIRST, FIRST + timedelta(days=1)]
    assert by_size == live == [FIRST]
    assert everything == []
    assert list(day_files(tmp_path)) == [FIRST + timedelta(days=2)]
    assert landing.query("select span_id from spans") == [("0000000000000003",)]


def test_a_backup_is_a_directory_to_run_on(tmp_path: Path) -> None:
    """Everything landed is in it, it verifies, and it is never mixed into what is there."""
    landing = three_days(tmp_path / "data")
    (tmp_path / "data" / "keys.json").write_text('{"keys": []}')
    staging = spans_directory(tmp_path / "data") / "backup-x"
    Copying(landing.store, staging, lambda _: True).run()
    (tmp_path / "out").mkdir()
    upkeep.take_copies(staging, tmp_path / "out")

    assert len(day_files(tmp_path / "out")) == 3
    reader = connect(tmp_path / "out")
    assert reader.query("select (select count(*) from spans), (select count(*) from log_records)").to_pylist() == [
        {"(SELECT count_star() FROM spans)": 3, "(SELECT count_star() FROM log_records)": 1}
    ]
    reader.close()
    assert (tmp_path / "out" / "keys.json").exists()
    assert list(upkeep.verify(tmp_path / "out")) == []


def test_damage_is_found_wherever_it_is(tmp_path: Path) -> None:
    """A flipped block, a file that is none, a span stored twice, a record lost from the log."""
    landing = three_days(tmp_path)
    landing.store._connection.execute("insert into day_20260302.spans from day_20260302.spans")
    landing.store.close()
    assert [damage.problem for damage in upkeep.verify(tmp_path)] == ["1 spans are there more than once"]

    path = day_path(tmp_path, FIRST)
    content = bytearray(path.read_bytes())
    for position in range(16384, len(content), 1024):
        content[position] ^= 0xFF
    path.write_bytes(content)
    day_path(tmp_path, FIRST + timedelta(days=2)).write_bytes(b"not a database" * 1000)
    (tmp_path / "wal" / "quarantine").mkdir(parents=True)
    (tmp_path / "wal" / "quarantine" / "1.seg").touch()

    damaged = {damage.path.name for damage in upkeep.verify(tmp_path)}
    assert damaged == {"2026-03-01.duckdb", "2026-03-02.duckdb", "2026-03-03.duckdb", "1.seg"}


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
