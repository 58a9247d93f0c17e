"""Days that are over, beside the queries that read them."""

from datetime import timedelta
from pathlib import Path

import duckdb

from receiver.days.files import day_path, filter_path
from receiver.query.views import show
from tests.export_requests import span
from tests.unit.receiver.days.three_days import FIRST, three_days
from tests.unit.receiver.store.test_landing import DAY, DAY_NS


def test_a_day_that_is_over_is_compacted_and_opens_for_others(tmp_path: Path) -> None:
    """Beside the queries that read it: same rows, read-only, known spans stay known, and nothing is done twice."""
    landing = three_days(tmp_path)
    with landing.store.snapshots.take() as taken:
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
    assert sorted(landing.store.days.opened.pin().values()) == ["day_20260301_1", "day_20260302", "day_20260303"]

    with duckdb.connect(str(day_path(tmp_path, FIRST)), read_only=True) as other:
        assert other.execute("select count(*) from spans").fetchall() == [(1,)]
        assert other.execute("select count(*) from compacted").fetchall() == [(1,)]
    landing.store.seal(FIRST + timedelta(days=2))
    landing.arrive(span(1, name="x" * 50), received_ns=DAY + 2 * DAY_NS)
    assert day_path(tmp_path, FIRST).stat().st_ino == inode
    assert filter_path(tmp_path, FIRST).exists()
    assert landing.query("select count(*), count(distinct span_id) from spans") == [(4, 4)]
