"""The HTTP port before there is anything to serve."""

import asyncio
import socket

import aiohttp
import pytest
from aiohttp import web

from foundation.errors import Busy
from receiver.intake.early import answering, bind


async def ask(method: str, url: str) -> tuple[int, str | None]:
    async with aiohttp.ClientSession() as session, session.request(method, url) as response:
        return response.status, response.headers.get("Retry-After")


def test_it_lives_and_takes_nothing_yet() -> None:
    """Whatever is sent may come again; whoever listens next on the same port has it without a gap."""

    async def scenario() -> list[tuple[int, str | None]]:
        (listening,) = await bind("127.0.0.1:0", "--http")
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        async with answering([listening], None):
            early = [
                await ask(method, url + path)
                for method, path in (("GET", "/healthz"), ("GET", "/readyz"), ("POST", "/v1/traces"))
            ]
        waiting = asyncio.ensure_future(ask("GET", f"{url}/readyz"))  # nobody answers at this moment
        await asyncio.sleep(0)
        runner = web.ServerRunner(web.Server(lambda _: asyncio.sleep(0, web.Response())))  # type: ignore[arg-type]
        await runner.setup()
        await web.SockSite(runner, listening).start()
        late = await waiting
        await runner.cleanup()
        return [*early, late]

    assert asyncio.run(scenario()) == [(200, None), (503, "1"), (503, "1"), (200, None)]


def test_a_port_that_is_taken_is_named() -> None:
    """And nothing is left open."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(Busy, match=address):
            asyncio.run(bind(address, "--http"))


def test_a_name_of_two_families_is_listened_on_by_both() -> None:
    """As far as this machine has them."""

    async def scenario() -> int:
        sockets = await bind("localhost:0", "--http")
        for each in sockets:
            each.close()
        return len(sockets)

    assert asyncio.run(scenario()) >= 1
