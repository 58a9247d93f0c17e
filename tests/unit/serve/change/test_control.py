"""The control endpoint over real sockets: who answers, and what it says when a change goes wrong."""

import asyncio
import errno
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from foundation.errors import Busy, GateRefused, SettingsError, SpanloopError
from foundation.web.keys import KeyRing, Scope, create_key
from foundation.web.places import Place
from serve.change import control
from serve.change.control import Asking, RefusedByGateway, ask, ask_elsewhere, make_app
from serve.change.incoming import Incoming
from serve.schema import ServerInfo


def described(url: str, token: str = "t") -> ServerInfo:
    return ServerInfo(
        pid=1, url=url, control_url=url, control_token=token, engine="embedded", base="base", started_time="now"
    )


@asynccontextmanager
async def listening(app: web.Application) -> AsyncIterator[str]:
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def refuse(request: dict[str, Any]) -> dict[str, Any]:
    raise {
        "gate": GateRefused("worse", hint="Train longer."),
        "disk": OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/data/serve"),
        "bug": KeyError("lm_head.weight"),
    }[request["how"]]


@pytest.mark.parametrize(
    ("how", "said"), [("gate", "worse"), ("disk", "No space left.*/data/serve"), ("bug", "lm_head")]
)
def test_whatever_stops_a_change_is_said(how: str, said: str) -> None:
    """A refusal, a full disk, a bug of ours: a line for whoever asked, never a traceback or an HTTP error page."""

    async def scenario() -> None:
        async with listening(make_app("t", {"promote": refuse})) as url:
            await ask(described(url), "promote", {"how": how})

    with pytest.raises(RefusedByGateway, match=said):
        asyncio.run(scenario())


def test_another_programs_port_is_not_a_gateway() -> None:
    """What server.json names may be gone and its port given away; nor is a gateway that has another token."""

    async def greet(_: web.Request) -> web.Response:
        return web.Response(text="<html>")

    async def scenario() -> None:
        stranger = web.Application()
        stranger.router.add_route("*", "/{path:.*}", greet)
        async with listening(stranger) as url:
            assert await ask(described(url), "status", {}) is None
        async with listening(make_app("t", {"status": refuse})) as url:
            assert await ask(described(url, "another"), "status", {}) is None
        assert await ask(described(url), "status", {}) is None

    asyncio.run(scenario())


def test_a_gateway_that_does_not_answer_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped, or drowned: the command ends with the status that means `try again`."""
    monkeypatch.setattr(control, "PING_TIMEOUT_S", 0.05)

    with socket.create_server(("127.0.0.1", 0)) as stopped:
        server = described(f"http://127.0.0.1:{stopped.getsockname()[1]}")
        with pytest.raises(Busy, match="does not answer"):
            asyncio.run(ask(server, "status", {}))


def test_a_gateway_that_stops_in_the_middle_of_a_change_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A change may take long, and nobody waits for one that stands still; one that goes on is waited for."""
    monkeypatch.setattr(control, "PING_EVERY_S", 0.01)
    num_asked = 0

    async def greet(_: web.Request) -> web.Response:
        nonlocal num_asked
        num_asked += 1
        if num_asked > 3 and stands_still:
            await asyncio.sleep(600)
        return web.Response(headers={control.IDENTITY: "1"})

    async def change(_: web.Request) -> web.Response:
        while num_asked < 6:
            await asyncio.sleep(0.001)
        return web.json_response({"live": "b"})

    async def scenario() -> Any:
        app = web.Application()
        app.add_routes([web.get("/ping", greet), web.post("/promote", change)])
        runner = web.AppRunner(app, shutdown_timeout=0.01)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            return await ask(described(f"http://127.0.0.1:{runner.addresses[0][1]}"), "promote", {})
        finally:
            await runner.cleanup()

    stands_still = True
    monkeypatch.setattr(control, "MIDWAY_TIMEOUT_S", 0.2)
    with pytest.raises(Busy, match="does not answer"):
        asyncio.run(scenario())
    stands_still, num_asked = False, 0
    monkeypatch.setattr(control, "MIDWAY_TIMEOUT_S", 60.0)
    assert asyncio.run(scenario()) == {"live": "b"}


def test_a_gateway_that_ends_meanwhile_is_named() -> None:
    """The change may have come or not: its status says."""

    async def greet(_: web.Request) -> web.Response:
        return web.Response(headers={control.IDENTITY: "1"})

    async def end(http: web.Request) -> web.Response:
        assert http.transport is not None
        http.transport.abort()
        return web.Response()

    async def scenario() -> None:
        app = web.Application()
        app.add_routes([web.get("/ping", greet), web.post("/promote", end)])
        async with listening(app) as url:
            await ask(described(url), "promote", {})

    with pytest.raises(SpanloopError, match="ended while"):
        asyncio.run(scenario())


def test_a_gateway_elsewhere_is_asked_with_a_key_and_is_brought_the_checkpoint(tmp_path: Path) -> None:
    """By name of its own machine; a key without the scope changes nothing, a wrong address is said to be one."""
    there, here = tmp_path / "there", tmp_path / "here" / "night"
    admin = create_key(there, name="night", project="p", scopes=[Scope.ADMIN])
    agent = create_key(there, name="agents", project="p", scopes=[Scope.SERVE])
    here.mkdir(parents=True)
    (here / "config.json").write_text("{}")
    asked: list[dict[str, Any]] = []

    async def promote(request: dict[str, Any]) -> dict[str, Any]:
        asked.append(request)
        return {"live": request["checkpoint"]}

    async def scenario() -> None:
        app = make_app("t", {"promote": promote}, Incoming(there), KeyRing(there))
        async with listening(app) as url:
            answer = await ask_elsewhere(Place(url, admin), "promote", {"checkpoint": str(here), "force": False})
            assert answer == {"live": str(there / "checkpoints" / "night")}
            for key in (agent, "", "t2"):
                with pytest.raises(SettingsError, match="does not let this key"):
                    await ask_elsewhere(Place(url, key), "promote", {"checkpoint": str(here)})
        with pytest.raises(Busy, match="no gateway answers at"):
            await ask_elsewhere(Place(url, admin), "promote", {})
        async with listening(web.Application()) as url:
            with pytest.raises(SettingsError, match="is not the control endpoint"):
                await ask_elsewhere(Place(url, admin), "promote", {})

    asyncio.run(scenario())
    assert asked == [{"checkpoint": str(there / "checkpoints" / "night"), "force": False}]
    assert (there / "checkpoints" / "night" / "config.json").read_text() == "{}"


def test_a_piece_that_is_not_taken_is_said_why(tmp_path: Path) -> None:
    """As every refusal of the gateway's is."""

    async def scenario() -> None:
        async with listening(make_app("t", {}, Incoming(tmp_path))) as url, aiohttp.ClientSession(url) as session:
            async with session.put("/incoming/night/a", params={"offset": "0"}, data=b"x") as refused:
                assert refused.status == 401
            told = ServerInfo(pid=0, url="", control_url=url, control_token="t", engine="", base="", started_time="")
            session.headers["Authorization"] = "Bearer t"
            with pytest.raises(RefusedByGateway, match="begins at 5"):
                await Asking(session, told).send("night", "a", 5, b"x")

    asyncio.run(scenario())
