"""Sends OTLP requests over gRPC, with settings of our own alone: nothing of OTEL_EXPORTER_OTLP_* is ever read."""

import os
from pathlib import Path
from typing import Any

import grpc

from otel_exporter.sending.post import PREFIX, Post, Refused, Settings, Unreachable

METHODS = {
    "traces": "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    "logs": "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
}
RETRYABLE = {
    "CANCELLED",
    "DEADLINE_EXCEEDED",
    "RESOURCE_EXHAUSTED",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNAVAILABLE",
    "DATA_LOSS",
}
"""Codes after which OTLP has a client send again (OTLP specification, Failures)."""


def grpc_post(settings: Settings) -> Post:
    """Return what calls a receiver's export. The connection is made by the first call, in the process that makes it."""
    scheme, marker, target = settings.endpoint.rpartition("://")
    if marker and scheme not in {"http", "https"}:
        raise ValueError(f"{PREFIX}ENDPOINT is {settings.endpoint!r}; over gRPC it reads http://host:4317 or https://…")
    metadata = [(name.lower(), value) for name, value in settings.headers.items()]
    compression = grpc.Compression.Gzip if settings.compression == "gzip" else grpc.Compression.NoCompression
    calls: dict[str, Any] = {}
    owner = 0

    def post(signal: str, body: bytes) -> None:
        nonlocal owner
        if owner != os.getpid():  # a channel does not survive a fork
            calls.clear()
            channel = _channel(settings, target, secure=scheme == "https")
            calls.update({name: channel.unary_unary(method) for name, method in METHODS.items()})
            owner = os.getpid()
        try:
            calls[signal](body, timeout=settings.timeout_s, metadata=metadata, compression=compression)
        except grpc.RpcError as error:
            code = error.code().name if hasattr(error, "code") else "UNKNOWN"
            kind = Unreachable if code in RETRYABLE else Refused
            raise kind(f"{settings.endpoint} answered {code}") from None

    return post


def _channel(settings: Settings, target: str, *, secure: bool) -> Any:  # noqa: ANN401 - grpcio has no types
    options = [("grpc.enable_http_proxy", 0)]  # prompts go to the address that was set and nowhere else
    if not secure:
        return grpc.insecure_channel(target, options)
    read = [
        Path(path).read_bytes() if path else None
        for path in (settings.certificate, settings.client_key, settings.client_certificate)
    ]
    return grpc.secure_channel(target, grpc.ssl_channel_credentials(*read), options)
