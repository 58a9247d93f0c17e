"""HTTP from a command: past proxies, to the address it was given, and never for ever."""

import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request

import pytest

from foundation.web import http
from tests.certificates import certificates


class Answering(BaseHTTPRequestHandler):
    """Answers by path, and notes who came."""

    seen: list[str]
    release: threading.Event

    def do_GET(self) -> None:
        self.seen.append(self.path)
        self.send_response(302 if self.path.endswith("/moved") else 200)
        self.send_header("Location", "/elsewhere")
        self.end_headers()

    def do_POST(self) -> None:
        self.seen.append(self.path)
        self.release.wait(10)
        self.send_response(400 if self.path == "/wrong" else 200)
        self.end_headers()
        self.wfile.write(b"at last")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[tuple[str, type[Answering]]]:
    handler = type("Handler", (Answering,), {"seen": [], "release": threading.Event()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", handler
    handler.release.set()
    server.shutdown()
    server.server_close()


def test_a_proxy_is_not_asked(server: tuple[str, type[Answering]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever listens there would see the token and the SQL."""
    url, handler = server
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")

    assert http.answers(f"{url}/ready")
    assert handler.seen == ["/ready"]


def test_a_model_outside_is_asked_by_the_proxy_and_one_of_this_machine_is_not(
    server: tuple[str, type[Answering]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And neither sends the key on to another address."""
    url, handler = server
    monkeypatch.setenv("http_proxy", url)
    monkeypatch.delenv("no_proxy", raising=False)
    with http.open_outside(Request("http://models.invalid/v1/models"), timeout_s=10):
        pass
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with http.open_outside(Request(f"{url}/here"), timeout_s=10):
        pass
    assert handler.seen == ["http://models.invalid/v1/models", "/here"]

    monkeypatch.setenv("http_proxy", url)
    for asked in (f"{url}/moved", "http://models.invalid/moved"):
        with pytest.raises(HTTPError) as refused:
            http.open_outside(Request(asked), timeout_s=10)
        refused.value.close()
    assert handler.seen[2:] == ["/moved", "http://models.invalid/moved"]


def test_a_redirect_is_not_followed(server: tuple[str, type[Answering]]) -> None:
    """The key would go along."""
    url, handler = server
    with pytest.raises(HTTPError) as moved:
        http.open_url(f"{url}/moved", timeout_s=5)
    moved.value.close()
    assert handler.seen == ["/moved"]


def test_a_server_that_works_is_waited_for_and_one_that_is_dead_is_not(
    server: tuple[str, type[Answering]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it lives is asked beside the request."""
    monkeypatch.setattr(http, "LOOK_EVERY_S", 0.05)
    url, handler = server

    with pytest.raises(TimeoutError):
        http.post_patiently(f"{url}/slow", b"x", {}, alive_url="http://127.0.0.1:1/")

    def looked() -> bool:
        handler.release.set()
        return True

    monkeypatch.setattr(http, "answers", lambda *_, **__: looked())
    with http.post_patiently(f"{url}/slow", b"x", {}, alive_url=url) as response:
        assert response.read() == b"at last"
    with pytest.raises(HTTPError) as wrong:
        http.post_patiently(f"{url}/wrong", b"x", {}, alive_url=url)
    wrong.value.close()


def test_an_answer_comes_over_tls_from_a_server_that_is_trusted(
    server: tuple[str, type[Answering]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By whoever names the authority in SSL_CERT_FILE; what TLS has decrypted already is not waited for."""
    cert, key = certificates(tmp_path)
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trusting.load_cert_chain(cert, key)
    handler = type("Handler", (Answering,), {"seen": [], "release": threading.Event()})
    handler.release.set()
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as secure:
        secure.socket = trusting.wrap_socket(secure.socket, server_side=True)
        serving = threading.Thread(target=secure.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        url = f"https://127.0.0.1:{secure.server_address[1]}"
        try:
            with pytest.raises(ssl.SSLCertVerificationError):
                http.post_patiently(f"{url}/told", b"x", {}, alive_url=url)
            monkeypatch.setenv("SSL_CERT_FILE", str(cert))
            with http.post_patiently(f"{url}/told", b"x", {}, alive_url=url) as response:
                assert [response.read(2), response.read()] == [b"at", b" last"]
        finally:
            secure.shutdown()
            serving.join()
