"""`spanloop reward` refuses what no receiver would take, and says what a receiver answered."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from foundation.errors import Busy, SettingsError
from spanloop.reward import reward
from tests.silent import nobody

TRACE = "ab" * 16


@contextmanager
def receiver(status: int = 200, body: bytes = b"{}", **headers: str) -> Iterator[tuple[str, list[Any]]]:
    """Run what answers alike whatever it is told; yield its address, and what it was told."""
    told: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            told.append((self.path, self.headers.get("Authorization"), content))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", told
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_what_is_judged_is_told_with_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """A value alone, for what is named by an id that is no trace's; the address may end in a slash."""
    monkeypatch.setenv("SPANLOOP_API_KEY", "sl_secret")
    with receiver() as (url, told):
        reward("0.25", response_id="chatcmpl-1", label="good", endpoint=f"{url}/")

    ((path, key, body),) = told
    assert (path, key) == ("/v1/rewards", "Bearer sl_secret")
    given = {name: value for name, value in body.items() if value is not None}
    assert given == {"response_id": "chatcmpl-1", "name": "outcome", "value": 0.25, "label": "good"}


@pytest.mark.parametrize(
    ("arguments", "names", "problem"),
    [
        ((TRACE,), {}, "no value"),
        ((), {"response_id": "r"}, "no value"),
        (("good",), {"response_id": "r"}, "'good' is no number"),
        (("xyz", 1.0), {}, "trace_id 'xyz' is not 32 hex digits"),
        (("0" * 32, 1.0), {}, "trace_id"),
        ((TRACE, 1.0), {"span_id": TRACE}, "--span-id"),
        ((TRACE, float("nan")), {}, "finite"),
        (("inf",), {"episode_id": "e"}, "finite"),
        ((TRACE, 1.0), {"name": " "}, "--name is empty"),
        ((TRACE, 1.0), {"endpoint": "localhost:4318"}, "is no address"),
        ((TRACE, 1.0), {"endpoint": "http://h:99999"}, "is no address"),
        ((TRACE, 1.0), {"endpoint": "http://h/a\nb"}, "is no address"),
    ],
)
def test_what_no_receiver_would_take_needs_none_to_be_refused(
    tmp_path: Path, arguments: tuple[Any, ...], names: dict[str, Any], problem: str
) -> None:
    """Wrong settings, whether one runs or not."""
    with pytest.raises(SettingsError, match=problem):
        reward(*arguments, **names, data=tmp_path)


@pytest.mark.parametrize(
    ("status", "body", "kind", "said"),
    [
        (503, b'{"error": "the disk is full"}', Busy, "the disk is full"),
        (400, b'{"message": "no such name"}', SettingsError, "no such name"),
        (403, b"", SettingsError, "SPANLOOP_API_KEY"),
        (500, b"<html>", SettingsError, "Internal Server Error"),
        (502, b"[1]", SettingsError, "Bad Gateway"),
    ],
)
def test_a_refusal_is_told_in_the_receivers_words(status: int, body: bytes, kind: type[Exception], said: str) -> None:
    """Or, where it has none, in those of its status; a full receiver may be asked again."""
    with receiver(status, body) as (url, _), pytest.raises(kind) as refused:
        reward(TRACE, 1.0, endpoint=url)

    assert said in str(refused.value)


def test_a_redirect_is_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The key is for the address that was named."""
    monkeypatch.setenv("SPANLOOP_API_KEY", "sl_secret")
    with (
        receiver() as (elsewhere, told),
        receiver(307, b"", Location=elsewhere) as (url, _),
        pytest.raises(SettingsError),
    ):
        reward(TRACE, 1.0, endpoint=url)

    assert told == []


def test_of_several_receivers_the_first_that_takes_it_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """One is away, one is full; those behind are not told what was taken. A refusal by settings is every one's."""
    with nobody() as away, receiver(503) as (full, _), receiver() as (third, told), receiver() as (fourth, untold):
        monkeypatch.setenv("SPANLOOP_RECEIVER", f"{away} {full} {third} {fourth}")
        reward(TRACE, 1.0)
        assert (len(told), untold) == (1, [])
        with receiver(400) as (refuses, _):
            monkeypatch.setenv("SPANLOOP_RECEIVER", f"{refuses} {third}")
            with pytest.raises(SettingsError):
                reward(TRACE, 1.0)
        monkeypatch.setenv("SPANLOOP_RECEIVER", f"{full} {away}")
        with pytest.raises(Busy, match="cannot be reached"):
            reward(TRACE, 1.0)
    assert len(told) == 1


def test_a_receiver_that_may_have_it_is_the_last_to_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """It took the request and hung up: told to another as well, the reward might be there twice."""
    with socket.create_server(("127.0.0.1", 0)) as listening, receiver() as (other, told):

        def hang_up() -> None:
            with listening.accept()[0] as connection:
                connection.recv(1 << 16)

        thread = threading.Thread(target=hang_up)
        thread.start()
        monkeypatch.setenv("SPANLOOP_RECEIVER", f"http://127.0.0.1:{listening.getsockname()[1]} {other}")
        with pytest.raises(Busy):
            reward(TRACE, 1.0)
        thread.join()
    assert told == []


def test_a_receiver_that_is_away_may_be_tried_again(tmp_path: Path) -> None:
    """At an address, and on a directory."""
    with nobody() as address, pytest.raises(Busy, match="cannot be reached"):
        reward(TRACE, 1.0, endpoint=address)
    with pytest.raises(Busy, match="no receiver runs"):
        reward(TRACE, 1.0, data=tmp_path)
