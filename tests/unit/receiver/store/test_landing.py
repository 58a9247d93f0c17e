"""Publishing and landing: each row once, the better version kept, hot rows and files seen as one."""

import itertools
import subprocess
import sys
import threading
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from receiver.days.files import day_files, day_of
from receiver.decode.arrow import TABLE_OF, decode
from receiver.decode.otlp import Signal
from receiver.query.views import show
from receiver.store.landing import Store
from receiver.store.tail import Decoded, body_digest
from tests.export_requests import TRACE_ID, logs, span, traces

DAY = int(datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp() * 1e9)
DAY_NS = 86_400 * 10**9


class Landing:
    """A store with numbered requests, so that tests read as what arrived."""

    def __init__(self, data: Path, today: date | None = None) -> None:
        self.store = Store(data, today=today or day_of(DAY))
        self._seqs = itertools.count(self.store.landed_seq + 1)

    def arrive(self, *spans: Any, received_ns: int = DAY, project: str = "default") -> None:
        message = traces(*spans)
        self.publish(Signal.TRACES, message, received_ns, project)

    def arrive_logs(self, *bodies: str, received_ns: int = DAY) -> None:
        self.publish(Signal.LOGS, logs(*bodies), received_ns, "default")

    def publish(self, signal: Signal, message: Any, received_ns: int, project: str) -> None:
        seq = next(self._seqs)
        batch = decode(signal, message, project=project, received_ns=received_ns, seq=seq)
        digest = body_digest(message.SerializeToString()) if signal is Signal.LOGS else ""
        self.store.publish([Decoded(seq, received_ns, TABLE_OF[signal], batch, digest, project)])

    def query(self, sql: str) -> list[Any]:
        with self.store.snapshots.take() as taken:
            rows: list[Any] = show(taken).execute(sql).fetchall()
            return rows

    def names(self) -> list[str]:
        return [row[0] for row in self.query("select name from spans order by name")]


@pytest.fixture
def landing(tmp_path: Path) -> Landing:
    return Landing(tmp_path)


def test_rows_are_visible_before_and_after_landing(landing: Landing) -> None:
    """A query cannot tell whether a row is hot or in its file."""
    landing.arrive(span(1, name="a"))
    landing.store.land()
    landing.arrive(span(2, name="b"))

    assert landing.names() == ["a", "b"]
    assert landing.store.num_hot_rows == 1


def test_the_number_reached_survives_a_restart(tmp_path: Path) -> None:
    """What landed is not replayed; it is committed in the same transaction."""
    first = Landing(tmp_path)
    first.arrive(span(1))
    first.arrive(span(2))
    first.store.land()
    first.store.close()

    assert Landing(tmp_path).store.landed_seq == 2


@pytest.mark.parametrize("landed_between", [False, True])
def test_the_same_span_again_is_ignored(landing: Landing, *, landed_between: bool) -> None:
    """A client that lost our answer sends again; when it arrived is no part of its content."""
    landing.arrive(span(1), span(2))
    if landed_between:
        landing.store.land()
    landing.arrive(span(2), span(3), received_ns=DAY + 10**9)

    assert landing.query("select count(*), count(distinct span_id) from spans") == [(3, 3)]
    assert landing.store.counts["duplicate_spans"] == 1
    assert landing.store.counts["conflicting_spans"] == 0


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("landed_between", [False, True])
def test_of_two_versions_the_one_that_ended_later_wins(
    landing: Landing, order: tuple[int, ...], *, landed_between: bool
) -> None:
    """Whatever the order of arrival and wherever the other version is."""
    versions = [span(1, name="begun", seconds=0), span(1, name="ended", seconds=2), span(1, name="half", seconds=1)]
    for index in order:
        landing.arrive(versions[index])
        if landed_between:
            landing.store.land()

    assert landing.names() == ["ended"]
    assert landing.store.counts["conflicting_spans"] == 2


def test_of_two_versions_that_ended_together_the_choice_does_not_depend_on_order(tmp_path: Path) -> None:
    """The larger digest of the content decides."""
    versions = [span(1, name="x"), span(1, name="y")]
    kept = []
    for number, order in enumerate(([0, 1], [1, 0])):
        landing = Landing(tmp_path / str(number))
        for index in order:
            landing.arrive(versions[index])
        kept.append(landing.names())
    together = Landing(tmp_path / "together")
    together.arrive(*versions)

    assert kept[0] == kept[1] == together.names()
    assert len(kept[0]) == 1


def test_projects_do_not_share_identity(landing: Landing) -> None:
    """The same ids under another project are another span."""
    landing.arrive(span(1), project="one")
    landing.arrive(span(1), project="two")

    assert landing.query("select project from spans order by 1") == [("one",), ("two",)]


def test_a_log_request_sent_twice_is_stored_once(landing: Landing) -> None:
    """Log records have no id: the bytes of their request are their identity."""
    landing.arrive_logs("hello", "world")
    landing.arrive_logs("hello", "world")
    landing.store.land()
    landing.arrive_logs("hello", "world")
    landing.arrive_logs("hello")

    assert landing.query("select count(*) from log_records") == [(3,)]
    assert landing.query("select count(distinct (received_seq, record_index)) from log_records") == [(3,)]


def test_each_day_of_receipt_has_its_file_and_all_are_seen_as_one(tmp_path: Path) -> None:
    """Roll-over happens within one landing, in the order of receipt."""
    landing = Landing(tmp_path)
    landing.arrive(span(1, name="a"))
    landing.arrive(span(2, name="b"), received_ns=DAY + DAY_NS)
    landing.arrive(span(2, name="b"), received_ns=DAY + DAY_NS)
    landing.store.land()

    assert [day.isoformat() for day in day_files(tmp_path)] == ["2026-03-01", "2026-03-02"]
    assert landing.names() == ["a", "b"]
    assert landing.store.landed_seq == 3
    landing.store.close()
    assert Landing(tmp_path, today=date(2026, 3, 9)).names() == ["a", "b"]


def test_a_sealed_day_keeps_its_rows_and_drops_later_versions(tmp_path: Path) -> None:
    """A day two days old no longer changes; what comes late is counted."""
    first = Landing(tmp_path)
    first.arrive(span(1, name="old"))
    first.store.land()
    first.store.close()

    later = Landing(tmp_path, today=date(2026, 3, 9))
    later.arrive(span(1, name="new", seconds=9), span(2, name="other"), received_ns=DAY + 8 * DAY_NS)

    assert later.names() == ["old", "other"]
    assert later.store.counts["conflicting_spans"] == 1


@pytest.mark.long
def test_queries_during_landing_see_every_row_once(landing: Landing) -> None:
    """Neither twice nor not at all while rows move from memory to the file."""
    stop = threading.Event()

    def land() -> None:
        while not stop.wait(0.001):  # a lock that is let go at once is had by who asks again at once
            landing.store.land()

    thread = threading.Thread(target=land)
    thread.start()
    try:
        for number in range(1, 120):
            landing.arrive(span(number))
            assert landing.query("select count(*), count(distinct span_id) from spans") == [(number, number)]
    finally:
        stop.set()
        thread.join()


def test_a_landing_that_fails_keeps_its_rows_and_succeeds_later(landing: Landing) -> None:
    """Everything stays hot and visible, and nothing of the transaction is left behind."""
    landing.arrive(span(1, name="a"))
    landing.store.land()
    landing.arrive(span(2, name="b"))
    landing.arrive_logs("hello")
    day = "day_20260301"
    landing.store.days.connection.execute(f"alter table {day}.log_requests rename to away")
    with pytest.raises(duckdb.Error):
        landing.store.land()  # fails at the last insert, after the spans'

    assert landing.names() == ["a", "b"]
    assert landing.query(f"select count(*) from {day}.spans") == [(1,)]

    landing.store.days.connection.execute(f"alter table {day}.away rename to log_requests")
    landing.store.land()
    assert landing.names() == ["a", "b"]
    assert (landing.store.landed_seq, landing.store.num_hot_rows) == (3, 0)


def test_one_row_a_trace(landing: Landing) -> None:
    """The view `traces` takes its name from the root, and from the earliest span while the root has not come."""
    root = span(1, name="root", seconds=3)
    child = span(2, name="child", parent_span_id=(1).to_bytes(8, "big"))
    child.status.code = 2
    orphan = span(3, name="orphan", trace_id=b"x" * 16, parent_span_id=b"12345678")
    landing.arrive(child, root, orphan)

    rows = landing.query("select root_name, service_name, duration_s, num_spans, num_errors from traces order by 1")

    assert rows == [("orphan", "agent", 1.0, 1, 0), ("root", "agent", 3.0, 2, 1)]
    assert TRACE_ID.hex() in {row[0] for row in landing.query("select trace_id from traces")}


def test_a_start_waits_for_a_query_that_reads_a_file_directly(tmp_path: Path) -> None:
    """Commands open the files themselves while no receiver runs; one that starts meanwhile gets its turn."""
    first = Landing(tmp_path)
    first.arrive(span(1))
    first.store.land()
    first.store.close()
    script = (
        "import sys, duckdb; c = duckdb.connect(sys.argv[1], read_only=True); print('open', flush=True); "
        "import time; time.sleep(1)"
    )
    path = str(next(iter(day_files(tmp_path).values())))
    with subprocess.Popen([sys.executable, "-c", script, path], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"open\n"
        second = Landing(tmp_path)

    assert second.names() == ["work"]


def test_a_day_file_is_opened_anew_after_the_database_gave_up_on_it(landing: Landing) -> None:
    """After a fatal error DuckDB answers nothing for that file any more; letting go and attaching again mends it."""
    landing.arrive(span(1, name="a"))
    landing.store.land()
    landing.arrive_logs("hot")
    landing.store.days.connection.execute("detach day_20260301")
    with pytest.raises(duckdb.Error):
        landing.store.land()

    landing.store.land()

    assert landing.names() == ["a"]
    assert landing.query("select count(*) from log_records") == [(1,)]
    assert landing.store.num_hot_rows == 0
