"""The page in a thread of this process, and a browser's half of talking to it: cookies, forms, no redirects."""

import asyncio
import contextlib
import http.client
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import urlencode

from aiohttp import web

from spanloop.page import questions
from spanloop.page.server import Server
from spanloop.page.settings import PageConfig


@dataclass
class Seen:
    """An answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def words(self) -> str:
        """What a reader sees, on one line."""
        return " ".join(re.sub(r"<[^>]*>", " ", self.text).split())


@dataclass
class Visitor:
    """Somebody with a browser."""

    port: int
    headers: dict[str, str] = field(default_factory=dict)
    cookie: str = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str, **headers: str) -> Seen:
        return self.send("GET", path, None, headers)

    def post(self, path: str, form: dict[str, Any] | None = None, **headers: str) -> Seen:
        body = urlencode(form or {}).encode()
        return self.send("POST", path, body, {"Content-Type": "application/x-www-form-urlencoded", **headers})

    def submit(self, page: str, path: str, form: dict[str, Any] | None = None) -> Seen:
        """Post a form of a page, with the token that stands in it."""
        found = re.search(r'name="form_token" value="([0-9a-f]+)"', self.get(page).text)
        assert found is not None
        return self.post(path, {**(form or {}), "form_token": found[1]}, Origin=self.url)

    def log_in(self, key: str) -> Seen:
        return self.post("/login", {"key": key, "to": "/"}, Origin=self.url)

    def send(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Seen:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        sent = {**self.headers, **({"Cookie": self.cookie} if self.cookie else {}), **headers}
        with contextlib.closing(connection):
            connection.request(method, path, body, sent)
            response = connection.getresponse()
            content = response.read()
        if given := response.headers.get("Set-Cookie"):
            self.cookie = given.partition(";")[0]
        return Seen(response.status, {name.lower(): value for name, value in response.headers.items()}, content)


@contextlib.contextmanager
def running_page(data: Path, **settings: Any) -> Iterator[Visitor]:
    """Serve the page of DATA in a thread; yield a visitor to it."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def start() -> web.AppRunner:
        config = PageConfig(data=data, listen="127.0.0.1:0", **settings)
        runner = web.AppRunner(Server(config).application(), access_log=None, shutdown_timeout=1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return runner

    with patch.object(questions, "AT_ONCE", 1):  # each process that answers costs a start
        runner = asyncio.run_coroutine_threadsafe(start(), loop).result(30)
    try:
        yield Visitor(runner.addresses[0][1])
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
