"""HTTP: OTLP (protobuf and JSON), rewards, SQL, health and metrics on one port."""

import asyncio
import contextlib
import secrets
import shutil
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import duckdb
import orjson
import pyarrow as pa
from aiohttp import web
from google.protobuf.json_format import MessageToJson
from google.rpc.code_pb2 import (
    INVALID_ARGUMENT,
    PERMISSION_DENIED,
    RESOURCE_EXHAUSTED,
    UNAUTHENTICATED,
    UNAVAILABLE,
)
from google.rpc.status_pb2 import Status

from foundation.errors import SpanloopError
from foundation.narration import get_logger
from foundation.web.browsers import Browsers
from foundation.web.keys import Forbidden, KeysUnreadable, Scope, Unauthenticated
from receiver.decode import otlp
from receiver.decode.otlp import Signal
from receiver.decode.refusals import RETRY_DELAY_S, Overloaded, TooLarge, Undecodable
from receiver.flow.vital import describe
from receiver.intake import rewards
from receiver.intake.access import Access, Principal
from receiver.intake.bodies import INFLATERS, BodyReader, UnknownEncoding
from receiver.intake.entry import COMMIT_TIMEOUT_S, Intake
from receiver.intake.queries import Queries
from receiver.metrics import exposition
from receiver.pipeline import Pipeline
from receiver.query import run as query
from receiver.settings import ReceiverConfig
from receiver.tables import spans_directory

log = get_logger("receiver")

PROTOBUF, JSON = "application/x-protobuf", "application/json"
CORS_PATHS = frozenset({"/v1/traces", "/v1/logs", "/v1/rewards"})
"""Where a page of an allowed origin may send. Queries, backups and metrics are not for pages."""

SENDER = web.RequestKey("sender", Principal)
GRACE_S = 4.0
"""How long requests under way may take to end after SIGTERM; landing what they brought has the rest of ten seconds."""

IDLE_PATIENCE_S = 60.0
"""How long a connection may stay without a whole request head: silent, idle, or sending one byte at a time."""

LOOK_EVERY_S = 0.1
"""How often a handler that works for long looks whether its client is still there."""

NUM_INTAKE_THREADS = 32
NUM_LOCAL_QUERIES = 8


class HttpServer:
    """The handlers of the HTTP port."""

    def __init__(self, pipeline: Pipeline, intake: Intake, config: ReceiverConfig, *, access: Access) -> None:
        self._pipeline = pipeline
        self._intake = intake
        self._config = config
        self._access = access
        self._threads = ThreadPoolExecutor(NUM_INTAKE_THREADS, thread_name_prefix="receiver-http")
        self._local_threads = ThreadPoolExecutor(NUM_LOCAL_QUERIES, thread_name_prefix="receiver-read")
        self._queries = Queries(pipeline, config)
        self._bodies = BodyReader(
            max_request_bytes=config.max_request_bytes,
            max_held_bytes=max(config.max_request_bytes, config.max_backlog_bytes),
        )
        self._browsers = Browsers(
            config.cors_allowed_origins,
            paths=CORS_PATHS,
            allowed_headers="Authorization, Content-Encoding, Content-Type, X-Api-Key",
        )
        self.is_ready = False

    def runner(self) -> web.AppRunner:
        """Return what serves the routes, once it is set up and given an address."""
        return web.AppRunner(
            self._application(),
            auto_decompress=False,
            access_log=None,
            handle_signals=False,
            shutdown_timeout=GRACE_S,
            keepalive_timeout=IDLE_PATIENCE_S,
        )

    def _application(self) -> web.Application:
        app = web.Application(middlewares=[self._admit])
        app.router.add_post("/v1/traces", self._export(Signal.TRACES))
        app.router.add_post("/v1/logs", self._export(Signal.LOGS))
        app.router.add_post("/v1/rewards", self._reward)
        app.router.add_post("/v1/sql", self._sql)
        app.router.add_post("/v1/backup", self._backup)
        for path in CORS_PATHS:
            app.router.add_options(path, self._preflight)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        app.on_cleanup.append(self._close)
        return app

    async def _close(self, _: web.Application) -> None:
        self._threads.shutdown(wait=False)
        self._bodies.close()
        self._queries.close()
        self._local_threads.shutdown(wait=False)

    # --- who

    @web.middleware
    async def _admit(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Let a request through when its sender may make it."""
        scopes = {"/v1/traces": Scope.INGEST, "/v1/logs": Scope.INGEST, "/v1/rewards": Scope.REWARD}
        others = {"/v1/sql": Scope.QUERY, "/v1/backup": Scope.ADMIN, "/metrics": Scope.ADMIN}
        needed = {**scopes, **others}.get(request.path)
        if needed is None:
            return await handler(request)
        headers = {name.lower(): value for name, value in request.headers.items()}
        if request.method == "OPTIONS":
            return await handler(request)
        as_json = request.content_type == JSON
        if problem := self._browsers.refusal(headers, request.path, is_open=self._access.is_open):
            return _refusal(403, PERMISSION_DENIED, problem, as_json=as_json)
        response = await self._admit_sender(request, handler, needed, headers)
        if not response.prepared:
            response.headers.update(self._browsers.answer_headers(headers, request.path))
        return response

    async def _preflight(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        allowed = self._browsers.preflight_headers(headers, request.path)
        return web.Response(status=204 if allowed else 403, headers=allowed)

    async def _admit_sender(
        self,
        request: web.Request,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
        needed: Scope,
        headers: dict[str, str],
    ) -> web.StreamResponse:
        transport = request.transport
        certificate = transport.get_extra_info("peercert") if transport else None
        as_json = request.content_type == JSON
        try:
            sender = self._access.identify(headers, has_certificate=bool(certificate))
            if not (needed is Scope.QUERY and Scope.ADMIN in sender.scopes):
                sender.require(needed)
        except Unauthenticated as error:
            return _refusal(401, UNAUTHENTICATED, str(error), as_json=as_json)
        except Forbidden as error:
            return _refusal(403, PERMISSION_DENIED, str(error), as_json=as_json)
        except KeysUnreadable as error:
            return _refusal(503, UNAVAILABLE, error.said, as_json=as_json)
        request[SENDER] = sender
        return await handler(request)

    # --- OTLP

    def _export(self, signal: Signal) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def export(request: web.Request) -> web.Response:
            as_json = request.content_type == JSON
            if not as_json and request.content_type != PROTOBUF:
                return web.json_response({"error": f"content type {request.content_type} is not OTLP"}, status=415)
            read = otlp.read_json if as_json else otlp.read_protobuf
            try:
                body = await self._bodies.read(request)
                stored = await self._store(signal, body, request[SENDER], read)
            except TooLarge:
                text = f"larger than {self._config.max_request_mb} MiB"
                return _refusal(413, RESOURCE_EXHAUSTED, text, as_json=as_json)
            except UnknownEncoding as error:
                return _refusal(415, INVALID_ARGUMENT, str(error), as_json=as_json)
            except Undecodable as error:
                return _refusal(400, INVALID_ARGUMENT, str(error), as_json=as_json)
            except Overloaded as error:
                return _refusal(503, UNAVAILABLE, str(error), as_json=as_json)
            except Exception as error:  # noqa: BLE001 - our mistake, not the sender's: it may come again
                log.warning("a request could not be taken", **describe(error))
                return _refusal(503, UNAVAILABLE, "an internal error", as_json=as_json)
            return web.Response(body=otlp.answer(stored, as_json=as_json), content_type=JSON if as_json else PROTOBUF)

        return export

    async def _store(
        self,
        signal: Signal,
        body: bytes,
        sender: Principal,
        read: Callable[[Signal, bytes], otlp.Request] = otlp.read_protobuf,
    ) -> otlp.Request:
        def begin() -> Any:  # noqa: ANN401 - a request and its future
            return self._intake.begin(signal, body, sender=sender, transport="http", read=read)

        request, future = await asyncio.get_running_loop().run_in_executor(self._threads, begin)
        if future is not None:
            try:
                await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(future)), COMMIT_TIMEOUT_S)
            except TimeoutError:
                raise Overloaded("the disk did not answer in time") from None
            except OSError as error:
                raise Overloaded(f"the disk refused: {error.strerror or type(error).__name__}") from error
        assert isinstance(request, otlp.Request)
        return request

    async def _reward(self, request: web.Request) -> web.Response:
        try:
            reward = rewards.read(await self._bodies.read(request))
            await self._store(Signal.LOGS, rewards.as_request(reward), request[SENDER])
        except TooLarge:
            return web.json_response({"error": "too large"}, status=413)
        except (SpanloopError, Undecodable) as error:
            return web.json_response({"error": str(error)}, status=400)
        except Overloaded as error:
            return _busy(error)
        except Exception as error:  # noqa: BLE001 - as above
            log.warning("a reward could not be taken", **describe(error))
            return _busy(Overloaded("an internal error"))
        return web.json_response({"stored": True})

    # --- SQL

    async def _sql(self, request: web.Request) -> web.StreamResponse:
        try:
            asked = orjson.loads(await self._bodies.read(request))
            sql, parameters = _text(asked["sql"]), list(asked.get("parameters") or [])
            form: Any = request.query.get("format", "arrow")
            query.CONTENT_TYPES[form]
            is_unbounded = asked.get("unbounded") is True
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError, TooLarge, Undecodable):
            text = 'expected JSON {"sql": "select …", "parameters": […]} and ?format=arrow|json|csv|parquet'
            return web.json_response({"error": text}, status=400)
        except Overloaded as error:
            return _busy(error)
        sender = request[SENDER]
        try:
            if sender.is_local or is_unbounded:
                if sender.visible_project is not None:
                    return _refusal(403, PERMISSION_DENIED, "without bounds reads a key of scope admin", as_json=True)
                return await self._stream(request, sql, parameters)
            body = await self._queries.answer(sql, parameters, form, sender.visible_project)
        except SpanloopError as error:
            return _query_error(error, None if sender.is_local else self._config.data)
        except Overloaded as error:
            return _busy(error)
        return web.Response(body=body, headers={"Content-Type": query.CONTENT_TYPES[form]})

    async def _stream(self, request: web.Request, sql: str, parameters: list[Any]) -> web.StreamResponse:
        """Answer without bounds, a piece at a time; the ETL reads millions of rows this way, here or from elsewhere."""
        loop = asyncio.get_running_loop()
        response = web.StreamResponse(headers={"Content-Type": query.CONTENT_TYPES["arrow"]})

        async def send(chunk: bytes) -> None:
            if not response.prepared:
                await response.prepare(request)
            await response.write(chunk)

        def run() -> None:
            for chunk in self._queries.stream(sql, parameters, is_wanted=lambda: not _has_left(request)):
                asyncio.run_coroutine_threadsafe(send(chunk), loop).result()

        running = loop.run_in_executor(self._local_threads, run)
        running.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            await running
        except (SpanloopError, duckdb.Error, pa.ArrowException, OSError) as error:
            if response.prepared:  # the reader sees a stream without its end and fails, as it must
                log.warning("a query failed while its rows were sent", reason=type(error).__name__)
                if request.transport is not None:
                    request.transport.abort()
                return response
            if isinstance(error, SpanloopError):
                raise
            return web.json_response({"error": str(error)}, status=400)
        with contextlib.suppress(ConnectionResetError):  # Arrow's own end mark came before; few readers wait for ours
            await response.write_eof()
        return response

    # --- backup

    async def _backup(self, request: web.Request) -> web.StreamResponse:
        """Copy the day files into a directory beside them, for the command that asked to take away.

        The copies are there for as long as that command keeps its connection.
        """
        if not request[SENDER].is_local:
            return web.json_response({"error": "only a command on this machine can ask for a backup"}, status=403)
        staging = spans_directory(self._config.data) / f"backup-{secrets.token_hex(4)}"
        copy = self._pipeline.copying(staging)
        try:
            copying = asyncio.get_running_loop().run_in_executor(self._local_threads, copy.run)
            while not (await asyncio.wait([copying], timeout=LOOK_EVERY_S))[0]:
                if _has_left(request):
                    copy.stop()
            await copying
            response = web.StreamResponse(headers={"Content-Type": JSON})
            await response.prepare(request)
            await response.write(orjson.dumps({"staging": staging.name}) + b"\n")
            while not _has_left(request):
                await asyncio.sleep(LOOK_EVERY_S)
        except (duckdb.Error, OSError) as error:
            return web.json_response({"error": str(error).splitlines()[0]}, status=500)
        finally:
            copy.stop()
            await asyncio.to_thread(shutil.rmtree, staging, ignore_errors=True)
        return response

    # --- health

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, _: web.Request) -> web.Response:
        if not self.is_ready:
            return web.Response(text="starting or stopping\n", status=503)
        if refusal := self._pipeline.refusal or self._access.refusal:
            return web.Response(text=f"{refusal}\n", status=503)
        return web.Response(text="ready\n")

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(text=exposition(self._pipeline), content_type="text/plain", charset="utf-8")


def _has_left(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _busy(error: Overloaded) -> web.Response:
    return web.json_response({"error": str(error)}, status=503, headers={"Retry-After": str(RETRY_DELAY_S)})


def _refusal(status: int, code: int, text: str, *, as_json: bool) -> web.Response:
    """Answer as OTLP/HTTP says: a Status message in the encoding of the request."""
    message = Status(code=code, message=text)
    headers = {"Retry-After": str(RETRY_DELAY_S)} if status == 503 else {}
    if status == 415:
        headers["Accept-Encoding"] = ", ".join(INFLATERS)
    if as_json:
        return web.Response(text=MessageToJson(message, indent=None), content_type=JSON, status=status, headers=headers)
    return web.Response(body=message.SerializeToString(), content_type=PROTOBUF, status=status, headers=headers)


def _query_error(error: SpanloopError, unnamed: Path | None) -> web.Response:
    """Say why a query failed; to others than this machine's own commands without where its directory lies."""
    status = 422 if isinstance(error, query.QueryTooExpensive) else 400
    message = error.message
    if unnamed is not None:
        for spelt in {str(unnamed.resolve()), str(unnamed.absolute())}:
            message = message.replace(spelt, "DATA")
    return web.json_response({"error": message, "hint": error.hint}, status=status)
