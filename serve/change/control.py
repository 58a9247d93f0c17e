"""How a command changes what a running gateway serves: a second endpoint, on loopback only, with a token of its own.

Separate from the endpoint of the agents, so that opening that one to a network never opens this one. The token is in
DATA/serve/server.json, which only the gateway's owner can read.
"""

import asyncio
import hmac
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from aiohttp import web

from foundation.errors import ExitStatus, SpanloopError
from serve.schema import ServerInfo, read_server

Action = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


class RefusedByGateway(SpanloopError):
    """An error of the running gateway, passed on with the exit status it has there."""

    def __init__(self, message: str, hint: str | None, exit_status: int) -> None:
        super().__init__(message, hint=hint)
        self.exit_status = ExitStatus(exit_status)


def make_app(token: str, actions: dict[str, Action]) -> web.Application:
    """Return the control application: one POST path an action, JSON in and out."""

    @web.middleware
    async def authorise(request: web.Request, handler: Any) -> web.StreamResponse:  # noqa: ANN401 - aiohttp's own
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(given.encode(), token.encode()):
            return web.json_response({"message": "wrong token", "hint": None, "exit_status": 1}, status=401)
        response: web.StreamResponse = await handler(request)
        return response

    def handler_of(action: Action) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            try:
                # A change once begun is finished, also when the command that asked for it is interrupted.
                result = await asyncio.shield(asyncio.ensure_future(action(await request.json())))
            except SpanloopError as error:
                body = {"message": error.message, "hint": error.hint, "exit_status": int(error.exit_status)}
                return web.json_response(body, status=409)
            return web.json_response(result)

        return handle

    app = web.Application(middlewares=[authorise])
    app.add_routes([web.post(f"/{name}", handler_of(action)) for name, action in actions.items()])
    return app


async def ask(server: ServerInfo, action: str, body: dict[str, Any]) -> dict[str, Any] | None:
    """Ask a running gateway to do something; None when it is not running after all."""
    headers = {"Authorization": f"Bearer {server.control_token}"}
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=5)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(f"{server.control_url}/{action}", json=body, headers=headers) as response,
        ):
            answer: dict[str, Any] = orjson.loads(await response.read())
    except aiohttp.ClientConnectorError:
        return None
    except aiohttp.ClientError as error:
        raise SpanloopError(f"the gateway ended while it was asked to {action}", hint="Ask for its status.") from error
    if response.status == 200:
        return answer
    if response.status == 401:
        return None  # another gateway has taken the port of one that was killed
    raise RefusedByGateway(answer["message"], answer["hint"], answer["exit_status"])


def ask_running(data: Path, action: str, body: dict[str, Any]) -> dict[str, Any] | None:
    """Ask the gateway of DATA; None when none runs."""
    server = read_server(data)
    return None if server is None else asyncio.run(ask(server, action, body))
