"""What a receiver answers a reader of this machine, and what becomes of an answer that is none."""

import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pyarrow as pa
import pytest

from foundation.errors import Busy, SettingsError, SpanloopError
from receiver.reading import remote
from receiver.reading.remote import ReceiverReader


@contextmanager
def answering(status: int, body: bytes) -> Iterator[tuple[ReceiverReader, list[Any]]]:
    asked: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            asked.append((self.path, self.headers["Authorization"], json.loads(content)))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield ReceiverReader({"http": f"http://127.0.0.1:{server.server_port}", "token": "secret", "pid": 7}), asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_rows_come_as_an_arrow_stream() -> None:
    """Asked with the token of the run, and with parameters apart from the SQL."""
    rows = pa.table({"n": [1, 2]})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as stream:
        stream.write_table(rows)

    with answering(200, sink.getvalue().to_pybytes()) as (reader, asked):
        found = reader.query("select ? as n", [1])

    assert found.equals(rows)
    assert asked == [("/v1/sql", "Bearer secret", {"sql": "select ? as n", "parameters": [1]})]


@pytest.mark.parametrize(
    ("status", "body", "kind", "message"),
    [
        (400, b'{"error": "no such column", "hint": "look"}', SettingsError, "no such column"),
        (503, b'{"error": "it is starting"}', Busy, "it is starting"),
        (500, b"<html>", SpanloopError, "answered 500"),
    ],
)
def test_a_refusal_says_what_the_receiver_said(
    status: int, body: bytes, kind: type[SpanloopError], message: str
) -> None:
    """As an error of the kind that its status means."""
    with answering(status, body) as (reader, _), pytest.raises(kind, match=message):
        reader.query("select 1")


def test_an_answer_that_is_no_stream_is_a_receiver_that_stopped() -> None:
    """Named by its address and process, so that somebody can look."""
    with answering(200, b"not arrow") as (reader, _), pytest.raises(Busy, match=r"pid 7\) stopped answering"):
        reader.query("select 1")


def test_a_receiver_elsewhere_is_asked_again_where_the_way_broke(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the first row on: half of a stream is no answer. A refusal is one, and is passed on at once."""
    monkeypatch.setattr(remote, "FIRST_WAIT_S", 0.01)
    rows = pa.table({"n": list(range(1000))})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as stream:
        stream.write_table(rows)
    whole = sink.getvalue().to_pybytes()
    bodies = iter([b"", whole[: len(whole) // 2], whole])
    asked: list[Any] = []

    def ask(where: dict[str, Any], path: str, body: bytes) -> Any:
        asked.append(json.loads(body))
        return io.BytesIO(next(bodies))

    monkeypatch.setattr(remote, "ask", ask)
    reader = ReceiverReader({"http": "https://receiver:4318", "token": "key", "is_remote": True})

    assert reader.query("select n").equals(rows)
    assert asked == [{"sql": "select n", "parameters": [], "unbounded": True}] * 3

    def refuse(*_: Any) -> Any:
        raise SettingsError("no such column")

    monkeypatch.setattr(remote, "ask", refuse)
    with pytest.raises(SettingsError):
        reader.query("select m")
