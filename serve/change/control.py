"""How a command changes what a running gateway serves: a second endpoint, with a token of its own.

Separate from the endpoint of the agents, so that opening that one to a network never opens this one: it is on loopback
unless `--control-listen` says otherwise, and then for keys of scope admin as well. The token is in
DATA/serve/server.json, which only the gateway's owner can read. The file outlives a gateway that was killed, and its
port may have gone to another program since: who answers is asked first, and within seconds.
"""

import asyncio
import contextlib
import hmac
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from aiohttp import web

from foundation.errors import Busy, ExitStatus, SettingsError, SpanloopError
from foundation.narration import get_logger
from foundation.web import places
from foundation.web.keys import KeyRing, KeysUnreadable, Scope, Unauthenticated
from serve.change.carrying import carry
from serve.change.incoming import Incoming
from serve.schema import ServerInfo, read_server

Action = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]

log = get_logger("serve")

IDENTITY = "X-Spanloop-Control"
"""Header of every answer of ours; what answers without it is another program."""

PING_TIMEOUT_S = 10.0
"""How long a gateway may take to say that it is there. A change itself may take minutes."""

CONNECT_TIMEOUT_S = 5.0

REPEATABLE = frozenset({"offer", "settle", "status"})
"""What may be asked again where the answer did not come."""

PING_EVERY_S = 10.0
MIDWAY_TIMEOUT_S = 60.0
"""How often it is asked again while a change goes on, which may keep it busy, and how long it may be silent then."""


class RefusedByGateway(SpanloopError):
    """An error of the running gateway, passed on with the exit status it has there."""

    def __init__(self, message: str, hint: str | None, exit_status: int) -> None:
        super().__init__(message, hint=hint)
        self.exit_status = ExitStatus(exit_status)


def make_app(
    token: str, actions: dict[str, Action], incoming: Incoming | None = None, keys: KeyRing | None = None
) -> web.Application:
    """Return the control application: one POST path an action, JSON in and out, and where checkpoints come in.

    Who has the token may ask, and who has a key of scope admin where keys are given.
    """
    if incoming is not None:
        actions = {**actions, "offer": incoming.offer, "settle": incoming.settle}

    @web.middleware
    async def authorise(request: web.Request, handler: Any) -> web.StreamResponse:  # noqa: ANN401 - aiohttp's own
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        refused = None if hmac.compare_digest(given.encode(), token.encode()) else _refused_key(keys, given)
        response: web.StreamResponse = await handler(request) if refused is None else refused
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

    async def take(request: web.Request) -> web.Response:
        assert incoming is not None
        try:
            offset = int(request.query["offset"])
            place = request.match_info["name"], request.match_info["file"]
            length = await incoming.take(*place, offset, request.content.iter_chunked(1 << 20))
        except (SpanloopError, KeyError, ValueError) as error:
            return _refusal(str(error), None, ExitStatus.FAILED)
        except OSError as error:
            return _refusal(error.strerror or str(error), "Free some space on the gateway's disk.", ExitStatus.FAILED)
        return web.json_response({"length": length})

    async def ping(_: web.Request) -> web.Response:
        return web.json_response({})

    app = web.Application(middlewares=[authorise])
    app.add_routes([web.post(f"/{name}", handler_of(action)) for name, action in actions.items()])
    app.add_routes([web.get("/ping", ping)])
    if incoming is not None:
        app.add_routes([web.put("/incoming/{name}/{file}", take)])
    return app


def _refused_key(keys: KeyRing | None, given: str) -> web.Response | None:
    """Return the answer to who has not the token; None for a key of scope admin."""
    try:
        if keys is not None and keys.are_demanded and Scope.ADMIN in keys.find(given).scopes:
            return None
    except Unauthenticated:
        pass
    except KeysUnreadable as error:
        return _refusal(error.said, None, error.exit_status, status=503)
    return _refusal("wrong token, or a key without the scope admin", None, ExitStatus.SETTINGS, status=401)


def _refusal(message: str, hint: str | None, status_of_command: ExitStatus, *, status: int = 409) -> web.Response:
    body = {"message": message, "hint": hint, "exit_status": int(status_of_command)}
    return web.json_response(body, status=status)


@dataclass(frozen=True)
class Asking:
    """A gateway that is there, and the connection to it."""

    session: aiohttp.ClientSession
    server: ServerInfo

    async def act(self, action: str, body: dict[str, Any]) -> dict[str, Any]:
        """Ask for something and return the answer, however long it takes, as long as the gateway lives."""
        asking = asyncio.ensure_future(_post(self.session, action, body))
        try:
            while not (await asyncio.wait({asking}, timeout=PING_EVERY_S))[0]:
                await _is_there(self.session, self.server, MIDWAY_TIMEOUT_S)
        finally:
            asking.cancel()
        status, answer = asking.result()
        if status == 200:
            return answer
        raise RefusedByGateway(answer["message"], answer["hint"], answer["exit_status"])

    async def send(self, name: str, file: str, offset: int, piece: bytes) -> None:
        """Send a piece of a checkpoint's file. Raises `Busy` where the way broke."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=MIDWAY_TIMEOUT_S)
        try:
            put = self.session.put(
                f"/incoming/{name}/{file}", params={"offset": str(offset)}, data=piece, timeout=timeout
            )
            async with put as response:
                answer = orjson.loads(await response.read())
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise Busy(f"{file} could not be sent: {type(error).__name__}", hint="Try again.") from error
        if response.status != 200:
            raise RefusedByGateway(answer["message"], answer["hint"], answer["exit_status"])


async def ask(server: ServerInfo, action: str, body: dict[str, Any]) -> dict[str, Any] | None:
    """Ask a running gateway of this machine to do something; None when it is not running after all."""
    async with _connected(server) as session:
        if not await _is_there(session, server, PING_TIMEOUT_S):
            return None
        return await Asking(session, server).act(action, body)


async def ask_elsewhere(place: places.Place, action: str, body: dict[str, Any]) -> dict[str, Any]:
    """Ask a gateway on another machine, which is brought the checkpoint that it is asked about."""
    server = ServerInfo(
        pid=0, url="", control_url=place.url, control_token=place.key, engine="", base="", started_time=""
    )
    async with _connected(server) as session:
        try:
            async with session.get("/ping", timeout=aiohttp.ClientTimeout(total=PING_TIMEOUT_S)) as response:
                is_ours, status = IDENTITY in response.headers, response.status
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Busy(
                f"no gateway answers at {place.url}: {error or type(error).__name__}",
                hint="Try again, or mend --control.",
            ) from error
        if not is_ours:
            raise SettingsError(
                f"{place.url} is not the control endpoint of a gateway", hint="It is where --control-listen says."
            )
        if status != 200:
            raise SettingsError(
                f"the gateway at {place.url} does not let this key change what is live",
                hint="Name a file with a key of scope admin: --key-file, or SPANLOOP_KEY_FILE.",
            )
        asking = Asking(session, server)
        if "checkpoint" in body:
            body = {**body, "checkpoint": await carry(asking, Path(body["checkpoint"]))}
        return await asking.act(action, body)


@contextlib.asynccontextmanager
async def _connected(server: ServerInfo) -> AsyncIterator[aiohttp.ClientSession]:
    headers = {"Authorization": f"Bearer {server.control_token}"}
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S)
    async with aiohttp.ClientSession(server.control_url, headers=headers, timeout=timeout) as session:
        yield session


async def _post(session: aiohttp.ClientSession, action: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    try:
        async with session.post(f"/{action}", json=body) as response:
            return response.status, orjson.loads(await response.read())
    except (aiohttp.ClientError, ValueError) as error:
        kind = Busy if action in REPEATABLE else SpanloopError
        raise kind(f"the gateway ended while it was asked to {action}", hint="Ask for its status.") from error


async def _is_there(session: aiohttp.ClientSession, server: ServerInfo, timeout_s: float) -> bool:
    """Tell whether the gateway answers; raise `Busy` when somebody takes the connection and says nothing."""
    try:
        async with session.get("/ping", timeout=aiohttp.ClientTimeout(total=timeout_s)) as response:
            # Ours, and not another one that has taken the port of one that was killed.
            return IDENTITY in response.headers and response.status != 401
    except TimeoutError:
        who = f" of process {server.pid}" if server.pid else ""
        raise Busy(
            f"the gateway{who} does not answer ({server.control_url}, {timeout_s:.0f} s)",
            hint="It is stopped or overloaded. Try again, or restart it.",
        ) from None
    except aiohttp.ClientError:
        return False


def ask_running(data: Path, action: str, body: dict[str, Any]) -> dict[str, Any] | None:
    """Ask the gateway that is named by URL, else the one of DATA; None when none runs there."""
    if (place := places.control()) is not None:
        return asyncio.run(ask_elsewhere(place, action, body))
    server = read_server(data)
    return None if server is None else asyncio.run(ask(server, action, body))
