"""Runs the receiver: pipeline and both servers, from the bound ports to an orderly end."""

import asyncio
import contextlib
import os
import secrets
import signal
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from aiohttp import web

from foundation.errors import Busy, SpanloopError
from foundation.files import write_json
from foundation.narration import get_logger
from foundation.web.listening import bracket, is_loopback
from otel_exporter.redaction import build
from receiver.flow.process import give_back_code, give_back_freed, prepare_process
from receiver.intake.access import Access
from receiver.intake.addresses import check_reachable, check_usable, port_busy, split_address
from receiver.intake.early import answering, bind
from receiver.intake.entry import Intake
from receiver.intake.grpc_server import GrpcServer
from receiver.intake.http_server import GRACE_S, HttpServer
from receiver.intake.tls import Tls
from receiver.pipeline import Pipeline
from receiver.settings import MEBIBYTE, ReceiverConfig
from receiver.store.lock import announcement_path

log = get_logger("receiver")


async def serve(config: ReceiverConfig) -> None:
    """Run until SIGTERM or SIGINT. Raises `Busy` when a port or DATA is taken, `SpanloopError` when DATA cannot be."""
    prepare_process()
    tls = Tls.of(config)
    for address, flag in ((config.grpc, "--grpc"), (config.http, "--http")):
        check_reachable(address, flag, config)
    check_usable(config)
    redactor = config.redactor(build)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    began = time.monotonic()
    failed = asyncio.Event()

    def end() -> None:
        loop.call_soon_threadsafe(failed.set)
        loop.call_soon_threadsafe(stop.set)

    with contextlib.ExitStack() as opened:
        sockets: list[socket.socket] = []
        with contextlib.suppress(Busy):  # who else holds DATA says more; if nobody does, the port is asked for again
            sockets = [opened.enter_context(listening) for listening in await bind(config.http, "--http")]
        with _writing(config.data):
            async with answering(sockets, tls.context() if tls else None):
                pipeline = await asyncio.to_thread(
                    Pipeline,
                    config.data,
                    land_every_s=config.land_every_s,
                    max_backlog_bytes=config.max_backlog_bytes,
                    memory_limit=config.memory_limit,
                    reserve_bytes=config.reserve_mb * MEBIBYTE,
                    retain_days=config.retain_days,
                    retain_bytes=config.retain_bytes,
                    purpose="spanloop receiver run",
                    on_failure=end,
                    on_upkeep=give_back_freed,
                    on_idle=give_back_code,
                )
        try:
            await _serve(config, Intake(pipeline, redactor), pipeline, stop, began, tls, sockets)
        finally:
            await asyncio.to_thread(pipeline.close)
    if failed.is_set():
        raise SpanloopError(
            f"the receiver on {config.data} stopped: {pipeline.failure}",
            hint="Start it again, as a service manager does by itself; its log says what happened.",
        )


@contextlib.contextmanager
def _writing(data: Path) -> Iterator[None]:
    """Say which directory it was that the disk refused at a start."""
    try:
        yield
    except OSError as error:
        raise SpanloopError(
            f"{data} cannot be used: {error.strerror or type(error).__name__}",
            hint="Free some space or mend its permissions, and start again; nothing acknowledged is lost.",
        ) from error


async def _serve(
    config: ReceiverConfig,
    intake: Intake,
    pipeline: Pipeline,
    stop: asyncio.Event,
    began: float,
    tls: "Tls | None",
    sockets: list[socket.socket],
) -> None:
    token = secrets.token_urlsafe(32)
    access = Access(config.data, token=token, needs_certificate=config.tls_client_ca is not None)
    http = HttpServer(pipeline, intake, config, access=access)
    grpc_server = GrpcServer(
        intake,
        max_request_bytes=config.max_request_bytes,
        access=access,
        credentials=tls.grpc_credentials() if tls else None,
    )
    runner = http.runner()
    await runner.setup()
    announcement = announcement_path(config.data)
    try:
        host, _ = split_address(config.http, "--http")
        for listening in sockets or await bind(config.http, "--http"):
            await web.SockSite(runner, listening, ssl_context=tls.context() if tls else None).start()
        http_port = runner.addresses[0][1]
        local = f"http://{bracket(host)}:{http_port}"
        if tls or not is_loopback(host):  # commands on this machine come by a port of their own, with the token
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            local = f"http://127.0.0.1:{runner.addresses[-1][1]}"
        try:
            grpc_port = grpc_server.start(config.grpc)
        except RuntimeError as error:
            raise port_busy(config.grpc, "--grpc") from error
        where = {
            "pid": os.getpid(),
            "http": local,
            "grpc": f"{bracket(split_address(config.grpc, '--grpc')[0])}:{grpc_port}",
            "token": token,
            "started_time": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        with _writing(config.data):
            write_json(announcement, where)  # mode 0600: the token in it lifts the bounds of SQL
        http.is_ready = True
        log.info(
            "receiving",
            grpc=where["grpc"],
            http=f"{'https' if tls else 'http'}://{bracket(host)}:{http_port}",
            data=str(config.data),
            replayed_requests=pipeline.num_replayed,
            ready_after_s=round(time.monotonic() - began, 2),
        )
        await stop.wait()
        log.info("stopping")
        http.is_ready = False
        await asyncio.to_thread(grpc_server.stop, GRACE_S)
    finally:
        with contextlib.suppress(OSError):  # gone, or a disk that changes nothing: a stale one fools nobody
            announcement.unlink()
        await runner.cleanup()
