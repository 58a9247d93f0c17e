"""What a cloud's answers come to; its conditions are tried on a real server (`make test-store`)."""

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from foundation.errors import Busy, SettingsError
from foundation.store.cloud import CloudStore
from foundation.store.store import Superseded


class Answering(BaseHTTPRequestHandler):
    """Answers every request as the test says: a status to writing, and one to reading with an object's content."""

    put_status, get_status, content = 200, 200, b"mine"

    bare_tag: str | None = None
    """What If-Match is compared with, byte for byte; None: nothing."""

    asked: ClassVar[list[str]] = []

    breaks = 0
    """How many connections break before a write is answered."""

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        if type(self).breaks:
            type(self).breaks -= 1
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        condition = self.headers.get("If-Match", "")
        self.asked.append(condition)
        holds = self.bare_tag is None or condition == self.bare_tag
        self._answer(type(self).put_status if holds else 412, b"")

    def do_GET(self) -> None:
        self._answer(type(self).get_status, type(self).content)

    def _answer(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", '"tag"')
        self.send_header("Last-Modified", "Mon, 30 Nov 2026 12:00:00 GMT")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[CloudStore]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    for name, value in (("ACCESS_KEY_ID", "a"), ("SECRET_ACCESS_KEY", "b"), ("REGION", "us-east-1")):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    yield CloudStore("s3://bucket/prefix", retry_s=0)
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("status", [409, 412])
def test_a_pointer_that_turns_out_to_be_ours_is_written(
    store: CloudStore, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer was lost, and what was sent again met itself; any other content is somebody else's."""
    monkeypatch.setattr(Answering, "put_status", status)

    assert store.create("pointer", b"mine") == '"tag"'
    assert store.replace("pointer", b"mine", '"before"') == '"tag"'
    with pytest.raises(Superseded):
        store.replace("pointer", b"yours", '"before"')


def test_a_server_that_compares_tags_without_quotes_is_understood(
    store: CloudStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Ceph 16 does: it refuses the tag it has just given. The next write knows; the condition is never left out."""
    monkeypatch.setattr(Answering, "bare_tag", "tag")
    monkeypatch.setattr(Answering, "asked", asked := [])

    assert [store.replace("pointer", b"new", '"tag"') for _ in range(2)] == ['"tag"'] * 2
    assert asked == ['"tag"', "tag", "tag"]
    with pytest.raises(Superseded):
        store.replace("pointer", b"new", '"before"')
    assert asked[3:] == ["before"]


def test_a_connection_that_breaks_under_a_write_is_no_end(store: CloudStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library sends a write with a condition once; whether it was done is seen by sending it again."""
    patient = CloudStore("s3://bucket/prefix", retry_s=20)
    for write in (lambda: patient.create("p", b"mine"), lambda: patient.replace("p", b"mine", '"tag"')):
        monkeypatch.setattr(Answering, "breaks", 2)
        assert write() == '"tag"'
        assert Answering.breaks == 0

    monkeypatch.setattr(Answering, "breaks", 1)
    with pytest.raises(Busy, match="does not answer"):
        store.create("p", b"mine")


def test_refused_credentials_are_settings(store: CloudStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trying again cannot help."""
    monkeypatch.setattr(Answering, "get_status", 403)

    with pytest.raises(SettingsError, match="refuses these credentials"):
        store.get("pointer")


def test_a_server_that_fails_is_busy(store: CloudStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Status 75: somebody tries again later."""
    monkeypatch.setattr(Answering, "put_status", 500)

    with pytest.raises(Busy, match="does not answer"):
        store.put("file", b"")
