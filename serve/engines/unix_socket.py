"""Connections to an engine's Unix socket, in bursts larger than its backlog."""

import asyncio
import os
import time
from errno import EAGAIN
from typing import TYPE_CHECKING

from aiohttp import UnixConnector
from aiohttp.client_exceptions import UnixClientConnectorError

if TYPE_CHECKING:
    from aiohttp import ClientRequest, ClientTimeout
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.tracing import Trace

RETRY_S = 0.02


class PatientUnixConnector(UnixConnector):
    """Tries again while the backlog is full.

    A TCP connection waits for room in it; a Unix one is refused at once, with EAGAIN. The engine takes connections as
    fast as it runs, so that room comes within milliseconds. `sock_connect` of the timeout bounds the waiting.

    Python's own event loop takes that EAGAIN for a connection under way, and hands out one that leads nowhere.
    """

    async def _create_connection(
        self, req: "ClientRequest", traces: "list[Trace]", timeout: "ClientTimeout"
    ) -> "ResponseHandler":
        deadline = time.monotonic() + (timeout.sock_connect or 0)
        while True:
            try:
                return await self._connect_once(req, traces, timeout)
            except UnixClientConnectorError as error:
                if error.errno != EAGAIN or time.monotonic() > deadline:
                    raise
            await asyncio.sleep(RETRY_S)

    async def _connect_once(
        self, req: "ClientRequest", traces: "list[Trace]", timeout: "ClientTimeout"
    ) -> "ResponseHandler":
        protocol = await super()._create_connection(req, traces, timeout)
        if protocol.transport is not None and protocol.transport.get_extra_info("peername") is None:
            protocol.abort()
            raise UnixClientConnectorError(self.path, req.connection_key, OSError(EAGAIN, os.strerror(EAGAIN)))
        return protocol
