"""How a command changes what a running gateway serves: a second endpoint, on loopback only, with a token of its own.

Separate from the endpoint of the agents, so that opening that one to a network never opens this one. The token is in
DATA/serve/server.json, which only the gateway's owner can read. The file outlives a gateway that was killed, and its
port may have gone to another program since: who answers is asked first, and within seconds.
"""

import asyncio
import hmac
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from aiohttp import web

from foundation.errors import Busy, ExitStatus, SpanloopError
from foundation.narration import get_logger
from serve.schema import ServerInfo, read_server

Action = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]

log = get_logger("serve")

IDENTITY = "X-Spanloop-Control"
"""Header of every answer of ours; what answers without it is another program."""

PING_TIMEOUT_S = 10.0
"""How long a gateway may take to say that it is there. A change itself may take minutes."""

PING_EVERY_S = 10.0
MIDWAY_TIMEOUT_S = 60.0
"""How often it is asked again while a change goes on, which may keep it busy, and how long it may be silent then."""


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
            response: web.StreamResponse = _refusal("wrong token", None, ExitStatus.FAILED, status=401)
        else:
            response = await handler(request)
        response.headers[IDENTITY] = "1"
        return response

    def handler_of(action: Action) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            try:
                # A change once begun is finished, also when the command that asked for it is interrupted.
                result = await asyncio.shield(asyncio.ensure_future(action(await request.json())))
            except SpanloopError as error:
                return _refusal(error.message, error.hint, error.exit_status)
            except OSError as error:
                place = f" ({error.filename})" if error.filename else ""
                return _refusal(f"{error.strerror or error}{place}", "Nothing was changed.", ExitStatus.FAILED)
            except Exception as error:
                log.exception("a change failed", action=request.path)
                message = f"the gateway could not do it: {type(error).__name__}: {error}"
                return _refusal(message, "Its log has the traceback: this is a bug.", ExitStatus.FAILED)
            return web.json_response(result)

        return handle

    async def ping(_: web.Request) -> web.Response:
        return web.json_response({})

    app = web.Application(middlewares=[authorise])
    app.add_routes([web.post(f"/{name}", handler_of(action)) for name, action in actions.items()])
    app.add_routes([web.get("/ping", ping)])
    return app


def _refusal(message: str, hint: str | None, status_of_command: ExitStatus, *, status: int = 409) -> web.Response:
    body = {"message": message, "hint": hint, "exit_status": int(status_of_command)}
    return web.json_response(body, status=status)


async def ask(server: ServerInfo, action: str, body: dict[str, Any]) -> dict[str, Any] | None:
    """Ask a running gateway to do something; None when it is not running after all."""
    headers = {"Authorization": f"Bearer {server.control_token}"}
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=5)
    async with aiohttp.ClientSession(server.control_url, headers=headers, timeout=timeout) as session:
        if not await _is_there(session, server, PING_TIMEOUT_S):
            return None
        asking = asyncio.ensure_future(_post(session, action, body))
        try:
            while not (await asyncio.wait({asking}, timeout=PING_EVERY_S))[0]:
                await _is_there(session, server, MIDWAY_TIMEOUT_S)
        finally:
            asking.cancel()
    status, answer = asking.result()
    if status == 200:
        return answer
    raise RefusedByGateway(answer["message"], answer["hint"], answer["exit_status"])


async def _post(session: aiohttp.ClientSession, action: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    try:
        async with session.post(f"/{action}", json=body) as response:
            return response.status, orjson.loads(await response.read())
    except (aiohttp.ClientError, ValueError) as error:
        raise SpanloopError(f"the gateway ended while it was asked to {action}", hint="Ask for its status.") from error


async def _is_there(session: aiohttp.ClientSession, server: ServerInfo, timeout_s: float) -> bool:
    """Tell whether the gateway answers; raise `Busy` when somebody takes the connection and says nothing."""
    try:
        async with session.get("/ping", timeout=aiohttp.ClientTimeout(total=timeout_s)) as response:
            # Ours, and not another one that has taken the port of one that was killed.
            return IDENTITY in response.headers and response.status != 401
    except TimeoutError:
        raise Busy(
            f"the gateway of process {server.pid} does not answer ({server.control_url}, {timeout_s:.0f} s)",
            hint="It is stopped or overloaded. Try again, or restart it.",
        ) from None
    except aiohttp.ClientError:
        return False


def ask_running(data: Path, action: str, body: dict[str, Any]) -> dict[str, Any] | None:
    """Ask the gateway of DATA; None when none runs."""
    server = read_server(data)
    return None if server is None else asyncio.run(ask(server, action, body))
