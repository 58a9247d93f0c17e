"""Queries in processes of their own: the same rows as here, and an end to whatever does not end by itself."""

import contextlib
import json
import os
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from foundation.errors import SettingsError
from receiver.days.files import day_of
from receiver.query import guard
from receiver.query import run as query
from receiver.query.processes import QUICK_PRIORITY, Job, QueryProcesses
from receiver.query.views import show
from tests.export_requests import span
from tests.unit.receiver.store.test_landing import DAY, DAY_NS, Landing

BOUNDS = query.Bounds(timeout_s=20, max_rows=1000, max_bytes=1 << 20)
STUCK = "select sum(levenshtein(repeat('a', 60000 + i), repeat('b', 60000))) as n from range(8) t(i)"
"""One call of it takes minutes, in which DuckDB heeds nothing."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Landing]:
    """Rows in a sealed day, in the live one and in the tail, of two projects."""
    landing = Landing(tmp_path_factory.mktemp("processes"))
    for number, project in enumerate(("shop", "bank", "shop", "bank")):
        when = DAY + (number // 2) * 2 * DAY_NS
        landing.arrive(span(number + 1, name=f"n{number}"), received_ns=when, project=project)
        landing.store.land()
    landing.store.seal(day_of(DAY) + timedelta(days=2))
    landing.arrive(span(5, name="n4"), received_ns=DAY + 2 * DAY_NS, project="shop")
    landing.arrive_logs("hello", received_ns=DAY + 2 * DAY_NS)
    yield landing
    landing.store.close()


@pytest.fixture(scope="module")
def processes(store: Landing) -> Iterator[QueryProcesses]:
    running = QueryProcesses(store.store.data, memory_limit="300MB", memory_bytes=300_000_000)
    yield running
    running.close()


def job(sql: str, parameters: list[Any] | None = None, **asked: Any) -> Job:
    needs = guard.needs(duckdb.connect(), sql, parameters)
    given: dict[str, Any] = {"project": None, "form": "json", "bounds": BOUNDS, **asked}
    return Job(sql, parameters or [], needs, **given)


def ask(store: Landing, processes: QueryProcesses, asked: Job) -> Any:
    with store.store.snapshots.take(traces=asked.needs.traces) as taken:
        return json.loads(processes.collect(taken, asked))


@pytest.mark.parametrize(
    ("sql", "parameters"),
    [
        ("select count(*) as n from spans", None),
        ("select * from spans order by name limit 2", None),
        ("select s from spans s order by name", None),
        ("from spans select name, #1 as first order by name", None),
        ("select name from spans where name > 'n1' and 3 <= received_seq order by 1", None),
        ("select name from spans where name = ? order by 1", ["n4"]),
        ("select name from spans where trace_id in (?, 'x') order by 1", ["00" * 16]),
        ("select a.name, b.name as other from spans a join spans b using (project) order by all", None),
        ("with s as (select name, project from spans) select count(*) as n from s a, s b", None),
        ("select (select max(name) from spans) as last, (select count(*) from log_records) as logs", None),
        ("select project, num_spans from traces order by all", None),
        ("select project, trace_id, start_time, duration_s, num_errors from traces order by all", None),
        ("select trace_id, num_spans from trace_parts where start_ns > 5 order by all limit 3", None),
        ("select sum(p.num_spans) as n, count(s.name) as names from trace_parts p, spans s", None),
        ("select count(*) as n from trace_parts", None),
        ("select l.body, s.name from log_records l, spans s order by all", None),
        ("describe spans", None),
        ("select count(*) as n from spans tablesample 100%", None),
        ("select 1 as a, 2 as b, 3 as a", None),
        ("select name, count(*) as n from spans s(project, trace_id) group by all order by all", None),
    ],
)
def test_a_process_answers_what_the_receiver_itself_would(
    store: Landing, processes: QueryProcesses, sql: str, parameters: list[Any] | None
) -> None:
    """However little of the rows it is sent: columns, conditions and traces are left out only where that is safe."""
    with store.store.snapshots.take() as taken:
        here = query.encode(query.collect(show(taken), sql, parameters, BOUNDS), "json")

    assert ask(store, processes, job(sql, parameters)) == json.loads(here)


def test_a_project_sees_its_own_rows_wherever_they_are(store: Landing, processes: QueryProcesses) -> None:
    """In the sealed day, which the process opens by itself, and in what it is sent."""
    for project, names in (("shop", ["n0", "n2", "n4"]), ("bank", ["n1", "n3"])):
        rows = ask(store, processes, job("select name from spans order by 1", project=project))
        assert [row["name"] for row in rows] == names


def test_a_query_that_heeds_nothing_is_killed_at_its_time(
    store: Landing, processes: QueryProcesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the next one is answered."""
    monkeypatch.setattr("receiver.query.processes.GRACE_S", 0.1)
    began = time.monotonic()
    with pytest.raises(query.QueryTooExpensive, match=r"longer than 0\.5 s"):
        ask(store, processes, job(STUCK, bounds=query.Bounds(0.5, 10, 1000)))

    assert time.monotonic() - began < 20
    assert ask(store, processes, job("select 1 as a")) == [{"a": 1}]


@pytest.mark.long
def test_a_query_goes_before_others_for_a_moment(store: Landing, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lookup is done by then; what takes longer runs as everything else. Where that is not allowed, likewise."""
    asked: list[int] = []

    def set_priority(which: int, who: int, priority: int) -> None:
        assert os.getpgid(who) == who  # all its threads
        assert which == os.PRIO_PGRP
        asked.append(priority)
        if len(asked) == 3:
            raise PermissionError

    monkeypatch.setattr("receiver.query.processes.os.setpriority", set_priority)
    monkeypatch.setattr("receiver.query.processes.QUICK_S", 0.1)
    monkeypatch.setattr("receiver.query.processes.GRACE_S", 0.1)

    fresh = QueryProcesses(store.store.data, memory_limit="300MB", memory_bytes=300_000_000)
    with contextlib.closing(fresh):
        with pytest.raises(query.QueryTooExpensive):
            ask(store, fresh, job(STUCK, bounds=query.Bounds(0.5, 10, 1000)))
        assert asked == [QUICK_PRIORITY, 0]
        assert ask(store, fresh, job("select 1 as a")) == [{"a": 1}]


def test_a_query_that_holds_too_much_is_killed(store: Landing) -> None:
    """Memory that DuckDB does not account for counts too."""
    small = QueryProcesses(store.store.data, memory_limit="300MB", memory_bytes=-(500 << 20))
    with contextlib.closing(small), pytest.raises(query.QueryTooExpensive, match="memory"):
        ask(store, small, job(STUCK))


def test_a_refusal_and_a_bound_are_told_as_such(store: Landing, processes: QueryProcesses) -> None:
    """By what went wrong, as where the query runs in the receiver."""
    for sql, kind, said in (
        ("select nothing from spans", SettingsError, "nothing"),
        ("select * from read_text('/etc/passwd')", SettingsError, "cannot be read from"),
        ("select i from range(2000) t(i)", query.QueryTooExpensive, "more than 1,000 rows"),
        ("select 'x'::int", SettingsError, "Could not convert"),
    ):
        with pytest.raises(kind, match=said):
            ask(store, processes, job(sql))


def test_a_stream_ends_with_its_reader(store: Landing, processes: QueryProcesses) -> None:
    """A reader of this machine gets rows as they come, without bounds; when it leaves, the query goes."""
    endless = job("select repeat('x', 10) as x, i from range(100000000) t(i)", form="arrow", bounds=None)
    with store.store.snapshots.take() as taken:
        pieces = processes.stream(taken, endless)
        assert next(pieces)
        pieces.close()
        whole = job("select repeat('x', 3) as x from range(50000)", form="arrow", bounds=None)
        rows = pa.ipc.open_stream(b"".join(processes.stream(taken, whole))).read_all()
        assert rows.num_rows == 50000
        with pytest.raises(query.QueryTooExpensive, match="nobody waits"):
            list(processes.stream(taken, job(STUCK, form="arrow", bounds=None), is_wanted=lambda: False))


def test_however_many_queries_one_thread_ends_the_processes_that_are_idle(
    store: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And it goes when there is none any more, until the next."""
    monkeypatch.setattr("receiver.query.processes.IDLE_S", 2.0)
    processes = QueryProcesses(store.store.data, memory_limit="200MB", memory_bytes=200_000_000)
    try:
        for _ in range(2):
            with store.store.snapshots.take() as taken:
                before = threading.active_count()
                for _ in range(5):
                    processes.collect(taken, job("select 1"))
                assert threading.active_count() <= before + 1
            while processes._all or processes._reaper is not None:
                time.sleep(0.05)
    finally:
        processes.close()


def test_closing_ends_what_runs(store: Landing) -> None:
    """A receiver that stops waits for no query."""
    closing = QueryProcesses(store.store.data, memory_limit="300MB", memory_bytes=300_000_000)
    assert ask(store, closing, job("select 1 as a")) == [{"a": 1}]
    (process,) = closing._all
    closing.close()

    assert process._process.wait(10) < 0
    with pytest.raises(query.QueryTooExpensive):
        ask(store, closing, job("select 1 as a"))
