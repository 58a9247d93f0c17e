"""What a process of queries says over its pipes, without being one."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from receiver.database import open_database
from receiver.decode.arrow import SCHEMAS
from receiver.query import frames
from receiver.query.worker import Worker

BOUNDS = {"timeout_s": 60, "max_rows": 100, "max_bytes": 1 << 20}
ROWS = pa.RecordBatch.from_pylist(
    [{"project": project, "name": name} for project, name in (("shop", "a"), ("bank", "b"), ("shop", "c"))],
    schema=pa.schema([SCHEMAS["spans"].field(name) for name in ("project", "name")]),
)


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    connection = open_database(tmp_path, memory_limit="100MB")
    yield Worker(connection, tmp_path)
    connection.close()


def job(sql: str, **fields: Any) -> bytes:
    """Write a job over the rows as the receiver does: what is asked, then the rows."""
    pipe = io.BytesIO()
    asked = {
        "sql": sql,
        "parameters": [],
        "project": None,
        "form": "json",
        "bounds": BOUNDS,
        "tables": ["spans"],
        "views": ["spans"],
        "columns": {"spans": ["project", "name"]},
        "sealed": {},
        "reads_once": True,
        "keeps_days_open": True,
    }
    frames.send_json(pipe, frames.DATA, asked | fields)
    with pa.ipc.new_stream(sink := pa.BufferOutputStream(), ROWS.schema) as writer:
        writer.write_batch(ROWS)
    frames.send(pipe, frames.DATA, sink.getvalue().to_pybytes())
    frames.send(pipe, frames.END)
    return pipe.getvalue()


def ask(worker: Worker, *jobs: bytes) -> list[Any]:
    """Return the answers to jobs one behind the other: rows, or an error."""
    source, found = io.BytesIO(b"".join(jobs)), []
    while True:
        sink = io.BytesIO()
        if not worker.answer(source, sink):
            return found
        sink.seek(0)
        kind, content = frames.receive(sink)
        found.append(json.loads(content))
        assert kind == frames.ERROR or frames.receive(sink)[0] == frames.END
        assert sink.read() == b"", "more than the answer"


@pytest.mark.parametrize("reads_once", [True, False])
def test_rows_that_are_sent_are_answered_from(worker: Worker, *, reads_once: bool) -> None:
    """As they come where they are read once, else kept; of a project its own alone."""
    names = "select name from spans order by 1"

    found = ask(worker, *(job(names, project=project, reads_once=reads_once) for project in (None, "shop")))

    assert found == [[{"name": "a"}, {"name": "b"}, {"name": "c"}], [{"name": "a"}, {"name": "c"}]]


def test_what_a_query_left_unread_is_not_taken_for_the_next_job(worker: Worker) -> None:
    """A limit reached early, and an error before the first row."""
    found = ask(worker, job("select name from spans limit 0"), job("select nothing from spans"), job("select 1 as n"))

    assert [found[0], found[2]] == [[], [{"n": 1}]]
    assert found[1]["kind"] == "refused"


def test_who_is_gone_half_way_ends_the_work(worker: Worker) -> None:
    """In the middle of the head, and of the rows: there is nobody to tell."""
    whole = job("select count(*) as n from spans")

    assert [ask(worker, whole[:size]) for size in (0, 3, len(whole) - 40)] == [[], [], []]


@pytest.mark.parametrize(
    ("sql", "fields", "kind"),
    [
        ("select nothing from spans", {}, "refused"),
        ("select name from spans", {"bounds": {**BOUNDS, "max_rows": 2}}, "expensive"),
        ("select name from spans", {"sealed": {"d1": "/gone/2026-03-01.duckdb"}}, "again"),
    ],
)
def test_an_error_is_told_by_what_the_asker_may_do(worker: Worker, sql: str, fields: dict[str, Any], kind: str) -> None:
    """Mend it, narrow it, or ask again because a day went away; the worker goes on."""
    told, after = ask(worker, job(sql, **fields), job("select 1 as n"))

    assert told["kind"] == kind
    assert after == [{"n": 1}]


def test_a_day_that_was_replaced_is_opened_anew(worker: Worker, tmp_path: Path) -> None:
    """By the file, not by its name; and closed where nobody wants it open."""
    (tmp_path / "spans").mkdir()
    path, new = tmp_path / "spans" / "day.duckdb", tmp_path / "spans" / "new.duckdb"
    for number, file in enumerate((path, new)):
        with duckdb.connect(file) as day:
            day.execute(f"create table spans as select 'shop' as project, 'sealed {number}' as name")
    sealed = {"views": ["spans"], "sealed": {"d1": str(path)}}
    names = "select name from spans where name like 'sealed%'"

    first = ask(worker, job(names, **sealed), job(names, **sealed))
    new.replace(path)
    after = ask(worker, job(names, **sealed), job(names, keeps_days_open=False, **sealed))

    assert first == [[{"name": "sealed 0"}]] * 2
    assert after == [[{"name": "sealed 1"}]] * 2
    with duckdb.connect(path) as day:  # nobody holds it
        day.execute("drop table spans")
