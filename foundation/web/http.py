"""HTTP from a command: never on to another address, never without a limit of time, through a proxy only to outside.

`http_proxy` is for the world outside; what a command tells a server of ours, its token and SQL among it, is not for
whoever listens there. A redirect is not followed for the same reason: the key would go along.
"""

import http.client
import io
import select
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any, cast
from urllib.parse import urlsplit

from foundation.web.listening import is_loopback


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object, **__: object) -> None:
        """Follow nothing: the answer comes back as the error it then is."""


_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirects())


def open_url(request: str | urllib.request.Request, *, timeout_s: float) -> http.client.HTTPResponse:
    """Send a request and return the answer, as `urllib.request.urlopen` does; it raises the same errors.

    Raises `ValueError` for an address that is not one.
    """
    return cast("http.client.HTTPResponse", _opener.open(request, timeout=timeout_s))


def open_outside(request: urllib.request.Request, *, timeout_s: float) -> http.client.HTTPResponse:
    """Send a request to a model of somebody's: as `open_url` does, but outside this machine by the proxy it has."""
    if is_loopback(urlsplit(request.full_url).hostname or ""):
        return open_url(request, timeout_s=timeout_s)
    outward = urllib.request.build_opener(_NoRedirects())  # it reads the environment now, not at the import
    return cast("http.client.HTTPResponse", outward.open(request, timeout=timeout_s))


def answers(url: str, *, token: str | None = None, timeout_s: float = 2.0) -> bool:
    """Tell whether an http URL answers 200."""
    try:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        request = urllib.request.Request(url, headers=headers)  # noqa: S310 - a server of ours said where
        with open_url(request, timeout_s=timeout_s) as response:
            return bool(response.status == 200)
    except urllib.error.HTTPError as refusal:
        refusal.close()
        return False
    except (OSError, ValueError, http.client.HTTPException):
        return False


LOOK_EVERY_S = 5.0
"""How long a server may be silent before it is asked whether it still lives."""


def post_patiently(url: str, body: bytes, headers: dict[str, str], *, alive_url: str) -> http.client.HTTPResponse:
    """Post to a server that may work on its answer for hours, as long as it says meanwhile that it lives.

    A server that is stopped, or hangs, is told from one that works by `alive_url`. Raises `TimeoutError` for it, here
    or while the answer is read, and `urllib.error.HTTPError` for an answer that is no success.
    """
    place = urlsplit(url)
    kind = http.client.HTTPSConnection if place.scheme == "https" else http.client.HTTPConnection
    connection = kind(place.hostname or "", place.port, timeout=LOOK_EVERY_S)
    connection.connect()
    connection.sock = cast("Any", _PatientSocket(connection.sock, lambda: answers(alive_url, timeout_s=LOOK_EVERY_S)))
    connection.request("POST", place.path, body, {**headers, "Connection": "close"})
    response = connection.getresponse()
    if response.status >= 400:
        raise urllib.error.HTTPError(url, response.status, response.reason, response.headers, response)
    return response


class _PatientSocket:
    """A socket whose reader asks, whenever nothing has come for a while, whether anything still can."""

    def __init__(self, sock: socket.socket, is_alive: Callable[[], bool]) -> None:
        self._sock = sock
        self._is_alive = is_alive

    def makefile(self, *_: object) -> io.BufferedReader:
        return io.BufferedReader(_PatientFile(self._sock, self._is_alive), 1 << 16)

    def sendall(self, data: bytes) -> None:
        self._sock.sendall(data)

    def close(self) -> None:
        """Leave it to the file that reads from it."""


class _PatientFile(io.RawIOBase):
    def __init__(self, sock: socket.socket, is_alive: Callable[[], bool]) -> None:
        self._sock = sock
        self._is_alive = is_alive
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - any writable buffer
        while not self._has_some():
            if not self._is_alive():
                raise TimeoutError("it has not answered for a while, nor does it say that it lives")
        return self._sock.recv_into(buffer)

    def _has_some(self) -> bool:
        """Wait a while for something to read: at the socket, or in what TLS has decrypted already."""
        is_held = isinstance(self._sock, ssl.SSLSocket) and self._sock.pending() > 0
        return is_held or bool(self._poll.poll(LOOK_EVERY_S * 1000))

    def close(self) -> None:
        self._sock.close()
        super().close()
