"""Runs the receiver: pipeline and both servers, from the bound ports to an orderly end."""

import asyncio
import contextlib
import ctypes
import ipaddress
import os
import secrets
import signal
import time
from datetime import UTC, datetime
from pathlib import Path

from aiohttp import web

from foundation.errors import Busy, SettingsError
from foundation.files import write_json
from foundation.narration import get_logger
from receiver.grpc_server import GrpcServer
from receiver.http_server import HttpServer
from receiver.intake import Intake
from receiver.pipeline import Pipeline
from receiver.settings import ReceiverConfig

log = get_logger("receiver")

GRACE_S = 4.0
"""How long requests under way may take to end after SIGTERM; landing what they brought has the rest of ten seconds."""


def announcement_path(data: Path) -> Path:
    """Return the file in which a running receiver says where it is."""
    return data / "receiver.json"


M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Numbers of mallopt(3) in glibc."""


def _keep_large_blocks() -> None:
    """Have malloc reuse blocks of a request's size instead of mapping and clearing fresh pages for each."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        library = ctypes.CDLL(None)
        library.mallopt(M_MMAP_THRESHOLD, 32 << 20)
        library.mallopt(M_TRIM_THRESHOLD, 128 << 20)


async def serve(config: ReceiverConfig) -> None:
    """Run until SIGTERM or SIGINT. Raises `Busy` when a port or DATA is taken."""
    _keep_large_blocks()
    for address, flag in ((config.grpc, "--grpc"), (config.http, "--http")):
        _check_loopback(address, flag)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    began = time.monotonic()
    pipeline = await asyncio.to_thread(
        Pipeline,
        config.data,
        land_every_s=config.land_every_s,
        max_backlog_bytes=config.max_backlog_bytes,
        memory_limit=config.memory_limit,
        purpose="spanloop receiver run",
    )
    try:
        await _serve(config, pipeline, stop, began)
    finally:
        await asyncio.to_thread(pipeline.close)


async def _serve(config: ReceiverConfig, pipeline: Pipeline, stop: asyncio.Event, began: float) -> None:
    intake = Intake(pipeline)
    token = secrets.token_urlsafe(32)
    http = HttpServer(pipeline, intake, config, token=token)
    grpc_server = GrpcServer(intake, max_request_bytes=config.max_request_bytes)
    runner = web.AppRunner(
        http.application(), auto_decompress=False, access_log=None, handle_signals=False, shutdown_timeout=GRACE_S
    )
    await runner.setup()
    announcement = announcement_path(config.data)
    try:
        host, port = split_address(config.http, "--http")
        site = web.TCPSite(runner, host, port)
        try:
            await site.start()
        except OSError as error:
            raise _port_busy(config.http, "--http") from error
        http_port = runner.addresses[0][1]
        try:
            grpc_port = grpc_server.start(config.grpc)
        except RuntimeError as error:
            raise _port_busy(config.grpc, "--grpc") from error
        where = {
            "pid": os.getpid(),
            "http": f"http://{_bracket(host)}:{http_port}",
            "grpc": f"{_bracket(split_address(config.grpc, '--grpc')[0])}:{grpc_port}",
            "token": token,
            "started_time": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        write_json(announcement, where)  # mode 0600: the token in it lifts the bounds of SQL
        http.is_ready = True
        log.info(
            "receiving",
            grpc=where["grpc"],
            http=where["http"],
            data=str(config.data),
            replayed_requests=pipeline.num_replayed,
            ready_after_s=round(time.monotonic() - began, 2),
        )
        await stop.wait()
        log.info("stopping")
        http.is_ready = False
        await asyncio.to_thread(grpc_server.stop, GRACE_S)
    finally:
        with contextlib.suppress(FileNotFoundError):
            announcement.unlink()
        await runner.cleanup()


def split_address(address: str, flag: str) -> tuple[str, int]:
    """Split `host:port`. Raises `SettingsError` when it is something else."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise SettingsError(f"{flag} {address} is not HOST:PORT", hint=f"For example: {flag} 127.0.0.1:4317")
    return host.strip("[]"), int(port)


def _bracket(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _check_loopback(address: str, flag: str) -> None:
    host, _ = split_address(address, flag)
    with contextlib.suppress(ValueError):
        if ipaddress.ip_address(host).is_loopback:
            return
    if host != "localhost":
        raise SettingsError(
            f"{flag} {address} is reachable from other machines, and anyone there could write spans and read prompts",
            hint=f"Bind to this machine ({flag} 127.0.0.1:{address.rpartition(':')[2]}) and put an authenticating "
            "OpenTelemetry Collector or proxy in front.",
        )


def _port_busy(address: str, flag: str) -> Busy:
    port = address.rpartition(":")[2]
    holder = " An OpenTelemetry Collector conventionally holds this port." if port in {"4317", "4318"} else ""
    return Busy(
        f"{address} is in use.{holder}",
        hint=f"Stop the other process, or choose another address with {flag} 127.0.0.1:PORT "
        "and point exporters there with OTEL_EXPORTER_OTLP_ENDPOINT.",
    )
