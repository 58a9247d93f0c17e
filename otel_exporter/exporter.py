"""The exporter behind `OTEL_TRACES_EXPORTER=otlp,spanloop`: the stock OTLP exporter, pointed at Spanloop.

Its settings are SPANLOOP_EXPORTER_OTLP_ENDPOINT, _PROTOCOL (grpc, http/protobuf), _HEADERS, _CERTIFICATE,
_CLIENT_CERTIFICATE, _CLIENT_KEY, _TIMEOUT and _COMPRESSION (none, gzip). They mean what OTEL_EXPORTER_OTLP_*
mean, which belong to the exporter already there: neither its endpoint nor its keys, certificates or credential
providers are ever used here.
"""

import logging
import ssl
from collections.abc import Mapping, Sequence
from os import environ
from pathlib import Path
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.util.re import parse_env_headers

log = logging.getLogger(__name__)

PREFIX = "SPANLOOP_EXPORTER_OTLP_"

DEFAULT_ENDPOINTS = {"grpc": "http://localhost:4317", "http/protobuf": "http://localhost:4318"}
"""Where each protocol goes unless told otherwise: the conventional OTLP ports."""

DEFAULT_TIMEOUT_S = 10.0
"""As in the OTLP exporter specification."""


class SpanloopExporter(SpanExporter):
    """Sends every span it is given to Spanloop and never raises into the agent.

    Wrong settings leave it idle, with one warning that names the problem; then every export fails, quietly.
    """

    def __init__(self) -> None:
        self._stock: SpanExporter | None = None
        try:
            self._stock = build_stock_exporter(environ)
        except Exception as error:  # noqa: BLE001 - whatever it is, the agent goes on without us
            log.warning("no spans go to Spanloop: %s", error)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send a batch of ended spans."""
        if self._stock is None:
            return SpanExportResult.FAILURE
        try:
            return self._stock.export(spans)
        except Exception as error:  # noqa: BLE001 - as above
            log.warning("%d spans did not reach Spanloop: %s", len(spans), type(error).__name__)
            return SpanExportResult.FAILURE

    def shutdown(self) -> None:
        """Close the connection."""
        if self._stock is None:
            return
        try:
            self._stock.shutdown()
        except Exception as error:  # noqa: BLE001 - as above
            log.warning("the connection to Spanloop did not close: %s", type(error).__name__)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Return at once: nothing is kept here."""
        return self._stock is None or self._stock.force_flush(timeout_millis)


def build_stock_exporter(environment: Mapping[str, str]) -> SpanExporter:
    """Return OpenTelemetry's own OTLP exporter with our settings.

    Every argument is given, since whatever is left out the stock exporter takes from OTEL_EXPORTER_OTLP_*. Raises
    ValueError for a setting that makes no sense, OSError for a certificate that cannot be read.
    """

    def setting(name: str, default: str) -> str:
        return environment.get(f"{PREFIX}{name}", "").strip() or default

    protocol = setting("PROTOCOL", "grpc")
    if protocol not in DEFAULT_ENDPOINTS:
        raise ValueError(f"{PREFIX}PROTOCOL is {protocol!r}; use one of {', '.join(DEFAULT_ENDPOINTS)}")
    compression = setting("COMPRESSION", "none")
    if compression not in {"none", "gzip"}:
        raise ValueError(f"{PREFIX}COMPRESSION is {compression!r}; use none or gzip")
    try:
        timeout_s = float(setting("TIMEOUT", str(DEFAULT_TIMEOUT_S)))
    except ValueError:
        raise ValueError(f"{PREFIX}TIMEOUT is not a number of seconds") from None
    client_certificate, client_key = setting("CLIENT_CERTIFICATE", ""), setting("CLIENT_KEY", "")
    if bool(client_certificate) != bool(client_key):
        raise ValueError(f"{PREFIX}CLIENT_CERTIFICATE and {PREFIX}CLIENT_KEY go together")
    for path in (client_certificate, client_key):
        if path:
            Path(path).read_bytes()  # an unreadable one is named now, not at every export
    # Imports are inside: only the protocol in use is loaded into the agent's process.
    build = _build_grpc if protocol == "grpc" else _build_http
    return build(
        endpoint=setting("ENDPOINT", DEFAULT_ENDPOINTS[protocol]),
        headers=_headers(environment),
        certificate=setting("CERTIFICATE", ""),
        identity=(client_certificate, client_key) if client_certificate else None,
        timeout_s=timeout_s,
        compression=compression,
    )


def _headers(environment: Mapping[str, str]) -> dict[str, str]:
    """Return our headers, and an empty one for each header meant for the other exporter.

    The stock exporters add OTEL_EXPORTER_OTLP_HEADERS to whatever they are given, or take them when given none, and
    offer no way to leave them out: blanked here, the vendor's API key does not come to us.
    """
    names = ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS")
    foreign = {key for name in names for key in parse_env_headers(environment.get(name, ""), liberal=True)}
    return {**dict.fromkeys(foreign, ""), **parse_env_headers(environment.get(f"{PREFIX}HEADERS", ""), liberal=True)}


def _build_grpc(
    *,
    endpoint: str,
    headers: dict[str, str],
    certificate: str,
    identity: tuple[str, str] | None,
    timeout_s: float,
    compression: str,
) -> SpanExporter:
    import grpc
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    insecure = not endpoint.startswith("https://")
    credentials = None
    if not insecure:
        roots = Path(certificate).read_bytes() if certificate else None
        chain, key = (Path(path).read_bytes() for path in identity) if identity else (None, None)
        credentials = grpc.ssl_channel_credentials(roots, key, chain)
    return OTLPSpanExporter(
        endpoint=endpoint,
        insecure=insecure,
        credentials=credentials,
        headers=headers,
        timeout=timeout_s,
        compression=grpc.Compression.Gzip if compression == "gzip" else grpc.Compression.NoCompression,
    )


def _build_http(
    *,
    endpoint: str,
    headers: dict[str, str],
    certificate: str,
    identity: tuple[str, str] | None,
    timeout_s: float,
    compression: str,
) -> SpanExporter:
    import requests
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    roots = certificate or ssl.get_default_verify_paths().cafile or True
    if certificate:
        Path(certificate).read_bytes()

    class OurSession(requests.Session):
        """Shows our identity and no other: what the stock exporter sets comes from OTEL_* where we leave it out."""

        def send(self, request: requests.PreparedRequest, **how: Any) -> requests.Response:  # noqa: ANN401
            return super().send(request, **{**how, "cert": identity, "verify": roots})

    return OTLPSpanExporter(
        endpoint=endpoint.rstrip("/") + "/v1/traces",
        session=OurSession(),  # with a session given, no credential provider of the environment is asked
        headers=headers,
        timeout=timeout_s,
        compression=Compression.Gzip if compression == "gzip" else Compression.NoCompression,
    )
