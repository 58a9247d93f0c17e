"""Damage of every kind is found."""

from datetime import timedelta
from pathlib import Path

import duckdb

from receiver.days.files import day_path
from receiver.days.verification import verify
from receiver.decode.shared import reference_to
from tests.unit.receiver.days.three_days import FIRST, three_days


def test_damage_is_found_wherever_it_is(tmp_path: Path) -> None:
    """A flipped block, a file that is none, a span stored twice, a record lost from the log."""
    landing = three_days(tmp_path)
    landing.store.days.connection.execute("insert into day_20260302.spans from day_20260302.spans")
    landing.store.close()
    assert [damage.problem for damage in verify(tmp_path)] == [
        "1 spans are there more than once",
        "what traces come to was summed of 1 spans, and 2 are there",
    ]

    path = day_path(tmp_path, FIRST)
    content = bytearray(path.read_bytes())
    for position in range(16384, len(content), 1024):
        content[position] ^= 0xFF
    path.write_bytes(content)
    day_path(tmp_path, FIRST + timedelta(days=2)).write_bytes(b"not a database" * 1000)
    (tmp_path / "wal" / "quarantine").mkdir(parents=True)
    (tmp_path / "wal" / "quarantine" / "1.seg").touch()

    damaged = {damage.path.name for damage in verify(tmp_path)}
    assert damaged == {"2026-03-01.duckdb", "2026-03-02.duckdb", "2026-03-03.duckdb", "1.seg"}


def test_a_text_that_rows_share_is_verified_too(tmp_path: Path) -> None:
    """By its digest, which is its name; and one that is gone is missed."""
    landing = three_days(tmp_path)
    day, whole = "day_20260302", reference_to("whole")
    connection = landing.store.days.connection
    connection.execute(f"insert into {day}.shared_texts values (?, 'whole')", [whole])
    connection.execute(f"update {day}.spans set resource = ?", [whole])
    landing.store.close()
    assert list(verify(tmp_path)) == []

    for change, problem in (
        ("update shared_texts set text = 'other'", "1 texts that rows share are not what was stored"),
        ("delete from shared_texts", "1 texts that rows of spans share are missing (resource)"),
    ):
        with duckdb.connect(day_path(tmp_path, FIRST + timedelta(days=1))) as day_file:
            day_file.execute(change)
        assert [damage.problem for damage in verify(tmp_path)] == [problem]
