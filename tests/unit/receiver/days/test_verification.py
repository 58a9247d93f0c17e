"""Damage of every kind is found."""

from datetime import timedelta
from pathlib import Path

from receiver.days.files import day_path
from receiver.days.verification import verify
from tests.unit.receiver.days.three_days import FIRST, three_days


def test_damage_is_found_wherever_it_is(tmp_path: Path) -> None:
    """A flipped block, a file that is none, a span stored twice, a record lost from the log."""
    landing = three_days(tmp_path)
    landing.store.days.connection.execute("insert into day_20260302.spans from day_20260302.spans")
    landing.store.close()
    assert [damage.problem for damage in verify(tmp_path)] == ["1 spans are there more than once"]

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
