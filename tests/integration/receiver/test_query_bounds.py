"""Queries beside landing: how many run at once, what they may hold, and that a lookup sees what a scan sees."""

import contextlib
import http.client
import json
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import duckdb
import pytest

from receiver.decode.otlp import Signal, read_protobuf
from receiver.pipeline import Pipeline
from receiver.query import run as query
from receiver.query import views
from receiver.query.reads import Needs
from tests.export_requests import span, traces
from tests.integration.receiver.processes import Receiver, running
from tests.scale import within

pytestmark = pytest.mark.integration

ENDLESS = "select count(*) from range(1000000000000) t(i) where i % 7 = 8"


def submit(pipeline: Pipeline, *numbers: int) -> None:
    body = traces(*(span(number, trace_id=bytes([number]) * 16) for number in numbers)).SerializeToString()
    pipeline.submit(read_protobuf(Signal.TRACES, body), "default").result(10)


@pytest.mark.long
def test_only_so_many_queries_run_at_once_and_ingest_goes_on(tmp_path: Path) -> None:
    """More wait for their turn and are then asked to come again; each ends at its time; spans are taken throughout."""
    bounds = ("--sql-max-concurrent", "2", "--sql-timeout-s", "7")
    with running(tmp_path / "data", *bounds) as receiver, ThreadPoolExecutor(5) as threads:
        asked = [
            threads.submit(receiver.post, "/v1/sql", json.dumps({"sql": ENDLESS}).encode(), Content_Type="x/y")
            for _ in range(5)
        ]
        time.sleep(0.5)
        for number in range(1, 20):
            receiver.export(traces(span(number)).SerializeToString())
        answers = [future.result() for future in asked]
        assert sorted(answer[0] for answer in answers) == [422, 422, 503, 503, 503]
        assert {answer[1].get("Retry-After") for answer in answers if answer[0] == 503} == {"1"}
        assert receiver.sql("select count(*) as n from spans") == [{"n": 19}]


def test_a_query_gives_way_when_landing_lacks_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The query is ended with the reason; landing is tried again and works."""
    with contextlib.closing(Pipeline(tmp_path, land_every_s=0.05)) as pipeline:
        outcome: list[Exception] = []

        def ask() -> None:
            try:
                with pipeline.snapshot(can_wait=True) as connection:
                    query.collect(connection, ENDLESS, None, query.Bounds(120, 10, 1000))
            except query.QueryTooExpensive as error:
                outcome.append(error)

        asking = threading.Thread(target=ask)
        asking.start()
        land = pipeline.store.land

        def lacking(**how: Any) -> None:
            if not outcome:  # an interrupt before the query has begun is none: landing asks again
                raise duckdb.OutOfMemoryException("no memory")
            land(**how)

        monkeypatch.setattr(pipeline.store, "land", lacking)
        submit(pipeline, 1)
        asking.join(timeout=120)
        assert "could not be landed" in str(outcome[0])
        deadline = time.monotonic() + 60
        while pipeline.backlog_bytes and time.monotonic() < deadline:
            time.sleep(0.02)
        assert pipeline.backlog_bytes == 0


def test_a_query_that_has_just_ended_is_no_obstacle_to_ending_the_others(tmp_path: Path) -> None:
    """Its connection may be closed before the thread that lands comes to it; that thread must live on."""
    with (
        contextlib.closing(Pipeline(tmp_path, land_every_s=60)) as pipeline,
        pipeline.snapshot(can_wait=True) as ended,
        pipeline.snapshot(can_wait=True) as asked,
    ):
        ended.close()
        threading.Timer(0.2, pipeline.store.snapshots.interrupt).start()
        with pytest.raises(query.QueryTooExpensive, match="could not be landed"):
            query.collect(asked, ENDLESS, None, query.Bounds(120, 10, 1000))


def test_only_the_query_itself_is_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the receiver does to prepare it would otherwise fail as if the receiver were broken."""
    prepare = views.create_views

    def slowly(connection: duckdb.DuckDBPyConnection, *arguments: Any, **named: Any) -> None:
        interrupting = threading.Timer(0.05, pipeline.store.snapshots.interrupt)
        interrupting.start()
        while interrupting.is_alive():
            connection.execute("select count(*) from range(1000000) t(i) where i % 7 = 8").fetchall()
        prepare(connection, *arguments, **named)

    monkeypatch.setattr("receiver.query.views.create_views", slowly)
    with (
        contextlib.closing(Pipeline(tmp_path, land_every_s=60)) as pipeline,
        pipeline.snapshot(can_wait=True) as connection,
    ):
        assert connection.execute("select count(*) from spans").fetchall() == [(0,)]


def test_a_lookup_finds_what_a_scan_finds(tmp_path: Path) -> None:
    """Whether a trace is landed, hot, or both: leaving out hot rows of other traces leaves out nothing of it."""
    with contextlib.closing(Pipeline(tmp_path, land_every_s=60)) as pipeline:
        submit(pipeline, 1, 2)
        pipeline.store.land()
        submit(pipeline, 3, 4)
        body = traces(span(77, trace_id=b"\1" * 16)).SerializeToString()
        pipeline.submit(read_protobuf(Signal.TRACES, body), "default").result(10)
        for number, expected in ((1, 2), (2, 1), (3, 1), (4, 1), (5, 0)):
            trace_id = (bytes([number]) * 16).hex()
            sql = f"select span_id from spans where trace_id = '{trace_id}'"
            needs = Needs(frozenset({"spans"}), frozenset({trace_id}))
            with pipeline.snapshot() as every, pipeline.snapshot(needs=needs) as some:
                assert sorted(every.execute(sql).fetchall()) == sorted(some.execute(sql).fetchall())
                assert len(some.execute(sql).fetchall()) == expected


STUCK = "select sum(levenshtein(repeat('a', 60000 + i), repeat('b', 60000))) as n from range(8) t(i)"
"""One call of it takes minutes, in which DuckDB heeds no interrupt."""


@pytest.mark.long
def test_stuck_queries_starve_nobody_and_hold_up_no_end(tmp_path: Path) -> None:
    """Others are answered, spans are taken; SIGTERM ends them all at once, those of this machine too, with status 0."""
    data = tmp_path / "data"
    body = json.dumps({"sql": STUCK}).encode()
    with running(data, "--sql-timeout-s", "600") as receiver, ThreadPoolExecutor(6) as threads:
        local = {"Content_Type": "application/json", "Authorization": f"Bearer {receiver.token}"}
        asked = [threads.submit(_ask, receiver, body) for _ in range(4)]
        asked.append(threads.submit(_ask, receiver, body, **local))
        deadline = time.monotonic() + 60
        while _num_query_processes(receiver) < 3 and time.monotonic() < deadline:
            time.sleep(0.05)
        receiver.export(traces(span(1)).SerializeToString())
        assert receiver.sql("select count(*) as n from spans") == [{"n": 1}]
        receiver.process.send_signal(signal.SIGTERM)
        assert receiver.process.wait(timeout=within(10)) == 0, receiver.log.read_text()
        for future in asked:
            future.result(timeout=120)
    assert "Traceback" not in receiver.log.read_text()


def _ask(receiver: Receiver, body: bytes, **headers: str) -> None:
    with contextlib.suppress(OSError, http.client.HTTPException):
        receiver.post("/v1/sql", body, **headers)


def _num_query_processes(receiver: Receiver) -> int:
    path = Path(f"/proc/{receiver.process.pid}/task")
    children = " ".join((task / "children").read_text() for task in path.iterdir())
    return len(children.split())
