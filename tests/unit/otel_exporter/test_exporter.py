"""The exporter takes its own settings, never its neighbour's, and never raises into the agent."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import requests
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from otel_exporter.exporter import SpanloopExporter, build_stock_exporter


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start from an environment without settings of either exporter."""
    for name in list(os.environ):
        if name.startswith(("OTEL_", "SPANLOOP_")):
            monkeypatch.delenv(name)


def test_by_default_it_speaks_grpc_to_localhost() -> None:
    """The conventional port, unencrypted, as OTLP exporters do."""
    exporter = build_stock_exporter({})
    try:
        assert type(exporter).__module__.startswith("opentelemetry.exporter.otlp.proto.grpc")
        assert (exporter._endpoint, exporter._insecure, exporter._timeout) == ("localhost:4317", True, 10.0)
    finally:
        exporter.shutdown()


@pytest.mark.parametrize(
    ("protocol", "endpoint"), [("grpc", "localhost:4317"), ("http/protobuf", "http://localhost:4318/v1/traces")]
)
def test_the_vendor_s_settings_are_not_ours(protocol: str, endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever OTEL_EXPORTER_OTLP_* say belongs to the exporter already there."""
    for signal in ("", "TRACES_"):
        monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{signal}ENDPOINT", "https://vendor.example:443")
        monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{signal}COMPRESSION", "gzip")
        monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{signal}TIMEOUT", "77")
        monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{signal}CERTIFICATE", "/no/such/file")

    exporter = build_stock_exporter({"SPANLOOP_EXPORTER_OTLP_PROTOCOL": protocol})

    try:
        assert exporter._endpoint == endpoint
        assert exporter._compression.name in {"NoCompression", "NONE"}
        assert getattr(exporter, "_timeout", None) in {10.0, None}
    finally:
        exporter.shutdown()


@pytest.mark.parametrize("ours", [None, ("our.crt", "our.key")])
def test_over_http_it_shows_its_own_identity_and_never_the_vendor_s(
    ours: tuple[str, str] | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The vendor's client certificate and credential provider are the vendor's; ours are settings of our own."""
    for signal in ("", "TRACES_"):
        monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{signal}CLIENT_CERTIFICATE", "/vendor.crt")
        monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{signal}CLIENT_KEY", "/vendor.key")
        monkeypatch.setenv(f"OTEL_PYTHON_EXPORTER_OTLP_HTTP_{signal}CREDENTIAL_PROVIDER", "vendor")
    settings = {"SPANLOOP_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
    identity = None
    if ours is not None:
        identity = tuple(str(tmp_path / name) for name in ours)
        for name, path in zip(("CLIENT_CERTIFICATE", "CLIENT_KEY"), identity, strict=True):
            Path(path).write_text("pem")
            settings[f"SPANLOOP_EXPORTER_OTLP_{name}"] = path
    sent: list[Any] = []

    def send(_: requests.Session, request: requests.PreparedRequest, **how: Any) -> requests.Response:
        sent.append(how["cert"])
        response = requests.Response()
        response.status_code, response.request = 200, request
        return response

    monkeypatch.setattr(requests.Session, "send", send)
    exporter = build_stock_exporter(settings)
    provider = TracerProvider()
    with provider.get_tracer("tests").start_as_current_span("work") as span:
        pass
    try:
        assert exporter.export([span]) is SpanExportResult.SUCCESS  # type: ignore[list-item]
    finally:
        exporter.shutdown()

    assert sent == [identity]


def test_half_an_identity_is_named() -> None:
    """A certificate without its key shows nothing to anybody."""
    with pytest.raises(ValueError, match="CLIENT_KEY go together"):
        build_stock_exporter({"SPANLOOP_EXPORTER_OTLP_CLIENT_CERTIFICATE": "/our.crt"})


@pytest.mark.parametrize(
    ("name", "value"),
    [("PROTOCOL", "smoke-signals"), ("COMPRESSION", "zip"), ("TIMEOUT", "soon"), ("CERTIFICATE", "/no/such/file")],
)
def test_wrong_settings_leave_it_idle(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One warning that names the problem; the agent goes on and so does its other exporter."""
    monkeypatch.setenv("SPANLOOP_EXPORTER_OTLP_ENDPOINT", "https://localhost:4317")
    monkeypatch.setenv(f"SPANLOOP_EXPORTER_OTLP_{name}", value)

    exporter = SpanloopExporter()

    assert len(caplog.records) == 1
    assert name in caplog.text or value in caplog.text
    assert exporter.export([]) is SpanExportResult.FAILURE
    assert exporter.force_flush()
    exporter.shutdown()


class Broken(SpanExporter):
    """Fails at everything."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:  # noqa: ARG002 - the interface has it
        raise RuntimeError("secret")

    def shutdown(self) -> None:
        raise RuntimeError("secret")


def test_a_failing_exporter_does_not_reach_the_agent(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It becomes a failed export and a warning without what the spans held."""
    monkeypatch.setattr("otel_exporter.exporter.build_stock_exporter", lambda _: Broken())
    exporter = SpanloopExporter()

    assert exporter.export([]) is SpanExportResult.FAILURE
    exporter.shutdown()

    assert "RuntimeError" in caplog.text
    assert "secret" not in caplog.text
