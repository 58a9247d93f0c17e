"""How what was read is handed to a receiver, or to the log: patiently, and not for ever."""

import io
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from foundation.errors import Busy, SpanloopError
from receiver.decode.otlp import Signal
from receiver.decode.refusals import Overloaded
from receiver.history import storing
from receiver.history.aside import Aside


class Answers(BaseHTTPRequestHandler):
    """Gives the answers of its server one after the other, the last again and again."""

    def do_POST(self) -> None:
        self.server.taken.append((self.path, dict(self.headers), self.rfile.read(int(self.headers["Content-Length"]))))  # type: ignore[attr-defined]
        left = self.server.statuses  # type: ignore[attr-defined]
        self.send_response(left.pop(0) if len(left) > 1 else left[0])
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Any]:
    server: Any = HTTPServer(("127.0.0.1", 0), Answers)
    server.taken, server.statuses = [], [200]
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storing.time, "sleep", lambda _: None)


def post(server: Any, body: bytes = b"spans") -> None:
    where = {"http": f"http://127.0.0.1:{server.server_port}", "token": "secret"}
    storing._post(where, Signal.LOGS, body)


def test_a_busy_receiver_is_asked_again(server: Any) -> None:
    """The same request, with the token of the run, until it is taken."""
    server.statuses = [503, 429, 200]

    post(server)

    assert [(path, body) for path, _, body in server.taken] == [("/v1/logs", b"spans")] * 3
    assert server.taken[0][1]["Authorization"] == "Bearer secret"


@pytest.mark.parametrize(("status", "patience_s"), [(400, 120.0), (503, 0.0)])
def test_a_refusal_ends_the_import(
    server: Any, monkeypatch: pytest.MonkeyPatch, status: int, patience_s: float
) -> None:
    """One for good at once, one for want of room when patience is over; what is stored stays stored."""
    monkeypatch.setattr(storing, "PATIENCE_S", patience_s)
    server.statuses = [status]

    with pytest.raises(SpanloopError, match=f"answered {status}") as refusal:
        post(server)

    assert "not stored twice" in (refusal.value.hint or "")
    assert len(server.taken) == 1


def test_a_receiver_that_went_away_is_busy() -> None:
    """A service manager brings it back; the token is in no message."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # nobody else gets the port, and nobody listens on it
        where = {"http": f"http://127.0.0.1:{silent.getsockname()[1]}", "token": "secret"}
        with pytest.raises(Busy, match="stopped answering") as refusal:
            storing._post(where, Signal.TRACES, b"")

    assert "secret" not in str(refusal.value)


class Full:
    """An intake without room, for a while."""

    def __init__(self, times: int) -> None:
        self.left = times

    def begin(self, signal: Signal, body: bytes) -> tuple[None, "Future[int]"]:
        if self.left:
            self.left -= 1
            raise Overloaded(f"no room for {len(body)} bytes of {signal.name}")
        future: Future[int] = Future()
        future.set_result(1)
        return None, future


def test_a_log_without_room_is_waited_for_and_then_said_to_be_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has it again once what is before has landed."""
    future = storing._begin(Full(3), Signal.TRACES, b"abc")  # type: ignore[arg-type]
    assert future is not None
    assert future.result() == 1

    monkeypatch.setattr(storing, "PATIENCE_S", 0.0)
    with pytest.raises(Busy, match="no room for 3 bytes"):
        storing._begin(Full(10**9), Signal.TRACES, b"abc")  # type: ignore[arg-type]


def test_nothing_put_aside_stores_nothing(tmp_path: Path) -> None:
    """And leaves a directory that a receiver can open."""
    storing.store(Aside(io.BytesIO(), "langfuse"), tmp_path, None)

    assert (tmp_path / "wal").is_dir()
