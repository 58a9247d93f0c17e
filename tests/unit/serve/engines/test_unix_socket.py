"""Connections to a real Unix socket whose backlog is full."""

import asyncio
import errno
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
import uvloop
from aiohttp import web
from aiohttp.client_exceptions import UnixClientConnectorError

from serve.engines.unix_socket import PatientUnixConnector


class Crowd:
    """A socket nobody takes connections from, and so many waiting that there is no room for another."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.listening = socket.socket(socket.AF_UNIX)
        self.listening.bind(str(path))
        self.listening.listen(0)
        self.waiting: list[socket.socket] = []
        while True:
            one = socket.socket(socket.AF_UNIX)
            one.setblocking(False)
            self.waiting.append(one)
            if one.connect_ex(str(path)) == errno.EAGAIN:
                return

    def leave(self) -> None:
        for one in self.waiting:
            one.close()
        self.listening.close()


@pytest.fixture
def crowd(tmp_path: Path) -> Iterator[Crowd]:
    one = Crowd(tmp_path / "engine.sock")
    yield one
    one.leave()


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def runner(request: pytest.FixtureRequest) -> Iterator[asyncio.Runner]:
    """Return what runs on a loop of each kind: they say of a full backlog what each likes."""
    with asyncio.Runner(loop_factory=request.param) as one:
        yield one


async def ask(path: Path, *, patience_s: float | None) -> str:
    timeout = aiohttp.ClientTimeout(total=30, sock_connect=patience_s)
    async with (
        aiohttp.ClientSession(connector=PatientUnixConnector(str(path)), timeout=timeout) as session,
        session.get("http://engine/") as response,
    ):
        return await response.text()


def test_a_call_waits_for_room_and_is_answered(
    crowd: Crowd, runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server begins to take connections while it waits, and not before."""
    num_waits = 0
    sleep = asyncio.sleep

    async def main() -> str:
        async def answer(_: web.Request) -> web.Response:
            return web.Response(text="here")

        app = web.Application()
        app.router.add_get("/", answer)
        server = web.AppRunner(app)
        await server.setup()

        async def wait(delay_s: float) -> None:
            nonlocal num_waits
            num_waits += 1
            if num_waits == 2:
                await web.SockSite(server, crowd.listening).start()
            await sleep(delay_s)

        monkeypatch.setattr("serve.engines.unix_socket.asyncio.sleep", wait)
        said = await ask(crowd.path, patience_s=20)
        await server.cleanup()
        return said

    assert runner.run(main()) == "here"
    assert num_waits >= 2


def test_patience_has_an_end(crowd: Crowd, runner: asyncio.Runner) -> None:
    """Where no room comes, the call is told what the socket said; without a bound it is at once."""
    for patience_s in (0.05, None):
        began = time.monotonic()
        with pytest.raises(UnixClientConnectorError) as refused:
            runner.run(ask(crowd.path, patience_s=patience_s))
        assert refused.value.errno == errno.EAGAIN
        assert time.monotonic() - began >= (patience_s or 0)


@pytest.mark.parametrize("left", [True, False])
def test_an_engine_that_is_gone_is_not_waited_for(
    tmp_path: Path, runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch, *, left: bool
) -> None:
    """Whether its socket was left behind or not: another is started the sooner."""
    path = tmp_path / "engine.sock"
    if left:
        with socket.socket(socket.AF_UNIX) as ended:
            ended.bind(str(path))
    monkeypatch.setattr("serve.engines.unix_socket.asyncio.sleep", lambda _: pytest.fail("it waited"))

    with pytest.raises(UnixClientConnectorError) as refused:
        runner.run(ask(path, patience_s=20))

    assert refused.value.errno == (errno.ECONNREFUSED if left else errno.ENOENT)
