"""The HTTP port while a start still reads the log: this process lives, and takes nothing yet.

A supervisor that asks whether it lives must not end a start for being long; a client is told to come again.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator

from aiohttp import web

from receiver.decode.refusals import RETRY_DELAY_S
from receiver.intake.addresses import port_busy, split_address


async def bind(address: str, flag: str) -> list[socket.socket]:
    """Return what listens on an address, one socket for each of its families. Raises `Busy` where it is taken."""
    host, port = split_address(address, flag)
    loop = asyncio.get_running_loop()
    places = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    with contextlib.ExitStack() as opened:
        try:
            sockets = [
                opened.enter_context(socket.create_server(place, family=family))
                for family, place in dict.fromkeys((family, place) for family, _, _, _, place in places)
            ]
        except OSError as error:
            raise port_busy(address, flag) from error
        opened.pop_all()
    return sockets


@contextlib.asynccontextmanager
async def answering(sockets: list[socket.socket], context: ssl.SSLContext | None) -> AsyncIterator[None]:
    """Answer on sockets for as long as the block runs; whoever connects later waits for who listens there next."""
    app = web.Application()
    app.router.add_get("/healthz", _is_alive)
    app.router.add_route("*", "/{path:.*}", _not_yet)
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1)
    await runner.setup()
    try:
        for listening in sockets:
            await web.SockSite(runner, listening.dup(), ssl_context=context).start()
        yield
    finally:
        await runner.cleanup()


async def _is_alive(_: web.Request) -> web.Response:
    return web.Response(text="ok\n")


async def _not_yet(_: web.Request) -> web.Response:
    return web.Response(text="starting\n", status=503, headers={"Retry-After": str(RETRY_DELAY_S)})
