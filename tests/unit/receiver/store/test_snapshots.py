"""Snapshots: each row once, of one moment, and ended when somebody needs what they hold."""

from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import duckdb
import pytest

from receiver.query.views import show
from receiver.snapshot import Snapshot
from tests.export_requests import span
from tests.unit.receiver.store.test_landing import Landing

LONG = "select count(*) from range(1000000) a, range(1000000) b where (a.range * b.range) % 7 = 8"


def test_a_snapshot_is_of_its_moment(tmp_path: Path) -> None:
    """What comes, and what lands, while it is read is not in it twice or at all."""
    landing = Landing(tmp_path)
    landing.arrive(span(1))
    with landing.store.snapshots.take() as taken:
        reading = show(taken)
        landing.arrive(span(2))
        landing.store.land()
        assert reading.execute("select count(*) from spans").fetchall() == [(1,)]
    assert landing.query("select count(*) from spans") == [(2,)]
    landing.store.close()


def test_of_what_has_not_landed_a_snapshot_may_hold_some_traces_alone(tmp_path: Path) -> None:
    """Those that its query is about: the rest need not be looked at."""
    landing = Landing(tmp_path)
    landing.arrive(span(1, trace_id=b"a" * 16))
    landing.arrive(span(2, trace_id=b"b" * 16), span(3, trace_id=b"b" * 16))

    with landing.store.snapshots.take(traces=frozenset({(b"a" * 16).hex()})) as taken:
        assert [batch.num_rows for batch in taken.tail["spans"]] == [1]
    landing.store.close()


def test_only_what_can_wait_gives_way_until_the_end(tmp_path: Path) -> None:
    """Landing that lacks memory ends the one kind; closing ends both."""
    landing = Landing(tmp_path)
    snapshots = landing.store.snapshots

    def run(taken: Snapshot) -> None:
        with pytest.raises(duckdb.InterruptException):
            taken.connection.execute(LONG).fetchall()

    with snapshots.take() as kept, snapshots.take(can_wait=True) as waiting, ThreadPoolExecutor(2) as threads:
        ends, stays = threads.submit(run, waiting), threads.submit(run, kept)
        while not ends.done():  # an interrupt before the query has begun is none
            snapshots.interrupt()
            wait([ends], timeout=0.01)
        ends.result()
        assert not stays.done()
        while not stays.done():
            snapshots.interrupt(every=True)
            wait([stays], timeout=0.01)
        stays.result()
    landing.store.close()
