"""Requests are posted by settings of our own, and what becomes of them is one of three things."""

import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from otel_exporter.sending.post import PREFIX, Refused, Unreachable, http_post, read_settings


class Scripted(HTTPServer):
    """Answers with one status, and keeps what came."""

    status = 200

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.came: list[tuple[str, dict[str, str], bytes]] = []


class Handler(BaseHTTPRequestHandler):
    server: Scripted

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.came.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
        self.send_response(self.server.status)
        self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def server() -> Iterator[Scripted]:
    with Scripted() as one:
        thread = threading.Thread(target=one.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield one
        one.shutdown()
        thread.join()


def to(server: Scripted, **more: str) -> dict[str, str]:
    return {f"{PREFIX}ENDPOINT": f"http://127.0.0.1:{server.server_port}/", **more}


def test_headers_and_compression_are_those_of_the_settings(server: Scripted) -> None:
    """Values of headers are percent-encoded, as OpenTelemetry has them."""
    server.status = 200
    settings = read_settings(to(server, **{f"{PREFIX}HEADERS": "x-a=1%2C2, x-b = c", f"{PREFIX}COMPRESSION": "gzip"}))

    http_post(settings)("traces", b"{}")

    path, headers, body = server.came[-1]
    assert (path, gzip.decompress(body)) == ("/v1/traces", b"{}")
    assert (headers["x-a"], headers["x-b"], headers["content-encoding"]) == ("1,2", "c", "gzip")


@pytest.mark.parametrize(
    ("status", "expected"), [(400, Refused), (401, Refused), (307, Refused), (429, Unreachable), (503, Unreachable)]
)
def test_a_refusal_is_for_good_or_for_now(server: Scripted, status: int, expected: type[Exception]) -> None:
    """A redirection is followed nowhere: prompts go to the address that was set."""
    server.status = status
    num_before = len(server.came)

    with pytest.raises(expected):
        http_post(read_settings(to(server)))("logs", b"{}")
    assert [path for path, _, _ in server.came[num_before:]] == ["/v1/logs"]


def test_nobody_there_is_for_now() -> None:
    """And the error says where, without a word of the request."""
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:1"):
        http_post(read_settings({f"{PREFIX}ENDPOINT": "http://127.0.0.1:1"}))("traces", b"secret")


@pytest.mark.parametrize(
    ("name", "value"),
    [("TIMEOUT", "soon"), ("COMPRESSION", "zip"), ("HEADERS", "x-a"), ("CLIENT_KEY", "key.pem")],
)
def test_a_setting_that_makes_no_sense_is_named(name: str, value: str) -> None:
    """At once, not at every export."""
    with pytest.raises(ValueError, match=PREFIX):
        read_settings({PREFIX + name: value})


def test_an_address_of_another_kind_is_refused() -> None:
    """Nothing but HTTP is spoken here."""
    with pytest.raises(ValueError, match="http://host:4318"):
        http_post(read_settings({f"{PREFIX}ENDPOINT": "localhost:4317"}))
