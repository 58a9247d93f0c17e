"""One attempt to hand an export request to the receiver, over gRPC or HTTP, and what came of it.

Endpoint, headers, TLS, compression and timeout are read by the stock exporters from the standard OTEL_EXPORTER_OTLP_*
variables. Their own way of sending gives up after ten seconds and does not say why; here every attempt is one, and its
answer says whether another can help.
"""

import logging
import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import Enum
from typing import Any
from urllib.parse import urlsplit

import grpc
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import RetryInfo
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

DEFAULT_ENDPOINT = "http://127.0.0.1:4317"
METHOD = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
RETRY_INFO = "google.rpc.retryinfo-bin"

CHANNEL_OPTIONS: Any = (("grpc.initial_reconnect_backoff_ms", 500), ("grpc.max_reconnect_backoff_ms", 5000))
"""gRPC's own ceiling is two minutes, in which a receiver that is back would be left waiting."""

LOCAL = {"127.0.0.1", "localhost", "::1"}
SOCKETS = ("unix:", "unix-abstract:")
"""How gRPC's names of sockets begin, with slashes after it or without."""

MAX_WAIT_S = 60.0
"""Longest a receiver is left alone, whatever it asks for."""


class Verdict(Enum):
    """What became of one attempt."""

    TAKEN = "taken"
    LATER = "later"
    """Not now: the receiver is away, busy, or does not know us yet."""

    NEVER = "never"
    """This request will never be taken."""

    TOO_LARGE = "too large"
    """Parts of it may be taken."""


@dataclass(frozen=True)
class Outcome:
    """The answer to one attempt."""

    verdict: Verdict
    reason: str = ""
    num_refused: int = 0
    """Spans the receiver would not have of a request it took."""

    needs_key: bool = False
    """It was refused for want of a key the receiver knows."""

    wait_s: float = 0.0
    """How long the receiver asked to be left alone."""


class Sender(ABC):
    """A way to the receiver."""

    endpoint: str
    """Where it leads."""

    @abstractmethod
    def send(self, body: bytes, key: str | None) -> Outcome:
        """Try once, with a key of ours where one is given."""

    @abstractmethod
    def close(self) -> None:
        """End an attempt that is under way, and make no more."""

    @property
    def is_local(self) -> bool:
        """Tell whether it leads to this machine."""
        parts = urlsplit(self.endpoint if "//" in self.endpoint else f"//{self.endpoint}")
        return parts.hostname in LOCAL or self.endpoint.startswith(SOCKETS)


def _with_key(key: str | None) -> tuple[tuple[str, str], ...]:
    return () if key is None else (("authorization", f"Bearer {key}"),)


def _read_partial(body: bytes) -> Outcome:
    """Return what a receiver says of a request it took."""
    try:
        partial = ExportTraceServiceResponse.FromString(body).partial_success
    except Exception:  # noqa: BLE001 - protobuf's own errors differ by implementation; the request was taken
        return Outcome(Verdict.TAKEN)
    return Outcome(Verdict.TAKEN, partial.error_message, num_refused=partial.rejected_spans)


FINAL = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.NOT_FOUND,
}
"""Answers about the request itself. The specification has fewer that may be tried again, but counts on exporters that
have nowhere to keep a request; a wrong key, port or proxy is mended sooner or later."""


class GrpcSender(GrpcExporter, Sender):
    """OTLP over gRPC."""

    def __init__(self, endpoint: str | None) -> None:
        GrpcExporter.__init__(self, endpoint=endpoint, channel_options=CHANNEL_OPTIONS)
        assert isinstance(self._channel, grpc.Channel), "the exporter opens it when it is made"
        self._opened: grpc.Channel = self._channel
        self._metadata = tuple(self._headers or ())
        self.endpoint = self._endpoint

    def send(self, body: bytes, key: str | None) -> Outcome:
        """Try once."""
        call = self._opened.unary_unary(METHOD)
        try:
            return _read_partial(call(body, timeout=self._timeout, metadata=(*self._metadata, *_with_key(key))))
        except grpc.RpcError as error:
            return _read_error(error)
        except ValueError as error:  # the channel was closed
            return Outcome(Verdict.LATER, str(error))

    def close(self) -> None:
        """End an attempt that is under way."""
        self._opened.close()


def _read_error(error: grpc.RpcError) -> Outcome:
    code, details = error.code(), error.details() or ""
    reason = f"{code.name}: {details[:200]}"
    retry = dict(error.trailing_metadata() or ()).get(RETRY_INFO)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and retry is None:
        return Outcome(Verdict.TOO_LARGE, reason)
    if code in FINAL:
        return Outcome(Verdict.NEVER, reason)
    return Outcome(Verdict.LATER, reason, needs_key=code is grpc.StatusCode.UNAUTHENTICATED, wait_s=_delay_s(retry))


def _delay_s(retry: bytes | None) -> float:
    try:
        delay = RetryInfo.FromString(retry or b"").retry_delay
    except DecodeError:
        return 0.0
    return _bounded(delay.seconds + delay.nanos / 1e9)


class HttpSender(Sender):
    """OTLP over HTTP, binary protobuf."""

    def __init__(self, endpoint: str | None) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        whole = None if endpoint is None else f"{endpoint.rstrip('/')}/v1/traces"
        self._client = OTLPSpanExporter(endpoint=whole)._client  # noqa: SLF001 - it has read all the settings
        self.endpoint = str(self._client._endpoint)  # noqa: SLF001

    def send(self, body: bytes, key: str | None) -> Outcome:
        """Try once."""
        client = self._client
        headers = {**client._headers, **dict(_with_key(key))}  # noqa: SLF001
        content = client._compress(body)  # noqa: SLF001
        answer = client._transport.request(  # noqa: SLF001
            "POST",
            self.endpoint,
            headers=headers,
            data=content,
            timeout=client._timeout,  # noqa: SLF001
        )
        status = answer.status_code
        if status is None:
            return Outcome(Verdict.LATER, str(answer.error)[:200])
        if status < 300:
            return _read_partial(answer.content())
        reason = f"{status} {answer.reason}"
        if status == 413:
            return Outcome(Verdict.TOO_LARGE, reason)
        if status in (400, 415, 422):
            return Outcome(Verdict.NEVER, reason)
        return Outcome(Verdict.LATER, reason, needs_key=status == 401, wait_s=_seconds(answer.headers()))

    def close(self) -> None:
        """Make no more attempts."""
        self._client.shutdown()


def _seconds(headers: object) -> float:
    try:
        return _bounded(float(headers.get("Retry-After", 0)))  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        return 0.0


def _bounded(asked_s: float) -> float:
    return min(MAX_WAIT_S, max(0.0, asked_s))


def has_headers() -> bool:
    """Tell whether somebody gave the exporter headers, and so a key of their choice."""
    return any(os.environ.get(f"OTEL_EXPORTER_OTLP_{name}") for name in ("TRACES_HEADERS", "HEADERS"))


def make_sender(endpoint: str | None) -> Sender:
    """Return the way to the receiver; what is not given comes from the standard OTEL_EXPORTER_OTLP_* variables."""
    logging.getLogger("opentelemetry.exporter").setLevel(logging.ERROR)
    protocol = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    if protocol == "http/protobuf":
        return HttpSender(endpoint)
    is_named = any(os.environ.get(f"OTEL_EXPORTER_OTLP_{name}") for name in ("TRACES_ENDPOINT", "ENDPOINT"))
    return GrpcSender(endpoint or (None if is_named else DEFAULT_ENDPOINT))
