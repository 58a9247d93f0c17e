"""Which days go, and in which order."""

from datetime import timedelta
from pathlib import Path

from receiver.days.files import day_files
from receiver.days.retention import expired
from tests.unit.receiver.days.three_days import FIRST, three_days


def test_what_is_past_its_time_or_too_much_is_removed_oldest_first(tmp_path: Path) -> None:
    """By age, by size, and never a day that still takes spans."""
    landing = three_days(tmp_path)
    today = FIRST + timedelta(days=9)
    size = {day: path.stat().st_size for day, path in day_files(tmp_path).items()}

    by_age = expired(tmp_path, today=today, retain_days=8, retain_bytes=None)
    by_size = expired(tmp_path, today=today, retain_days=None, retain_bytes=sum(size.values()) - 1)
    live = expired(tmp_path, today=FIRST + timedelta(days=2), retain_days=None, retain_bytes=1)
    everything = expired(tmp_path, today=today, retain_days=None, retain_bytes=None)
    landing.store.retire(by_age)

    assert by_age == [FIRST, FIRST + timedelta(days=1)]
    assert by_size == live == [FIRST]
    assert everything == []
    assert list(day_files(tmp_path)) == [FIRST + timedelta(days=2)]
    assert landing.query("select span_id from spans") == [("0000000000000003",)]
