"""Days that go, beside the queries that read them."""

from pathlib import Path

from receiver.days.files import day_path
from receiver.query.views import show
from tests.unit.receiver.days.three_days import FIRST, three_days


def test_a_day_is_removed_while_it_is_read(tmp_path: Path) -> None:
    """The file is gone at once; the query reads it to its end, the next one does without."""
    landing = three_days(tmp_path)
    with landing.store.snapshots.take() as taken:
        reading = show(taken)
        landing.store.retire([FIRST])
        assert not day_path(tmp_path, FIRST).exists()
        assert reading.execute("select count(*) from spans").fetchall() == [(3,)]
        assert landing.query("select count(*) from spans") == [(2,)]
    assert landing.store.days.opened._let_go == set()
