"""How a compacted day lies in its file, and what an unfinished copy leaves."""

from datetime import timedelta
from pathlib import Path

import duckdb
import pytest

from receiver.days.files import day_path
from tests.export_requests import span
from tests.unit.receiver.days.three_days import FIRST, three_days
from tests.unit.receiver.store.test_landing import Landing


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
    monkeypatch.setattr("receiver.days.copies.SORTED_ROWS", 4)
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
