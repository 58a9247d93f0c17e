"""Spans reach Spanloop beside whatever was there, over each protocol, with our settings alone."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import TracerProvider

from otel_exporter import attach

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[3]

PROGRAM = """
from opentelemetry import trace
from opentelemetry.sdk._configuration import _OTelSDKConfigurator
_OTelSDKConfigurator().configure()  # what opentelemetry-instrument does before it runs a program
tracer = trace.get_tracer("agent")
for number in range(1000):
    with tracer.start_as_current_span(f"task {number}"):
        pass
"""


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start from an environment without settings of either exporter."""
    for name in list(os.environ):
        if name.startswith(("OTEL_", "SPANLOOP_")):
            monkeypatch.delenv(name)


def run(program: str, **environment: str) -> str:
    """Run a Python program; return what it wrote to stderr."""
    result = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stderr


def test_both_exporters_of_the_environment_get_every_span(vendor_sink, spanloop_sink) -> None:
    """OTEL_TRACES_EXPORTER=otlp,spanloop leaves the vendor's export as it was, and its key with the vendor."""
    run(
        PROGRAM,
        OTEL_TRACES_EXPORTER="otlp,spanloop",
        OTEL_EXPORTER_OTLP_ENDPOINT=vendor_sink.endpoint,
        OTEL_EXPORTER_OTLP_HEADERS="x-vendor-key=secret",
        SPANLOOP_EXPORTER_OTLP_ENDPOINT=spanloop_sink.endpoint,
        SPANLOOP_EXPORTER_OTLP_HEADERS="authorization=Bearer%20ours",
        SPANLOOP_EXPORTER_OTLP_COMPRESSION="gzip",
    )

    expected = sorted(f"task {number}" for number in range(1000))
    assert sorted(vendor_sink.spans) == expected
    assert sorted(spanloop_sink.spans) == expected
    assert {headers["x-vendor-key"] for headers in vendor_sink.headers} == {"secret"}
    assert {headers["authorization"] for headers in spanloop_sink.headers} == {"Bearer ours"}
    assert "secret" not in str(spanloop_sink.headers)


def test_a_receiver_that_is_away_costs_the_vendor_nothing(vendor_sink) -> None:
    """The agent ends well and the other exporter has every span."""
    run(
        PROGRAM,
        OTEL_TRACES_EXPORTER="otlp,spanloop",
        OTEL_EXPORTER_OTLP_ENDPOINT=vendor_sink.endpoint,
        SPANLOOP_EXPORTER_OTLP_ENDPOINT="http://localhost:1",
        SPANLOOP_EXPORTER_OTLP_TIMEOUT="1",
    )

    assert len(vendor_sink.spans) == 1000


def test_wrong_settings_cost_the_vendor_nothing(vendor_sink) -> None:
    """One warning, and the agent runs."""
    narration = run(
        PROGRAM,
        OTEL_TRACES_EXPORTER="otlp,spanloop",
        OTEL_EXPORTER_OTLP_ENDPOINT=vendor_sink.endpoint,
        SPANLOOP_EXPORTER_OTLP_PROTOCOL="smoke-signals",
    )

    assert len(vendor_sink.spans) == 1000
    assert narration.count("SPANLOOP_EXPORTER_OTLP_PROTOCOL") == 1


def send_one(sink, monkeypatch: pytest.MonkeyPatch, **settings: str) -> None:
    """Attach to a provider and send one span."""
    monkeypatch.setenv("SPANLOOP_EXPORTER_OTLP_ENDPOINT", sink.endpoint)
    for name, value in settings.items():
        monkeypatch.setenv(f"SPANLOOP_EXPORTER_OTLP_{name}", value)
    provider = TracerProvider()
    assert attach(provider)
    provider.get_tracer("agent").start_span("task").end()
    provider.shutdown()


def test_http_carries_our_headers_alone(http_sink, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stock HTTP exporter adds the vendor's headers to ours; they arrive blank."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-vendor-key=secret,authorization=secret")

    send_one(http_sink, monkeypatch, PROTOCOL="http/protobuf", HEADERS="authorization=Bearer%20ours")

    assert http_sink.spans == ["task"]
    assert http_sink.headers[0]["authorization"] == "Bearer ours"
    assert "secret" not in str(http_sink.headers)


def test_a_private_certificate_is_trusted_where_it_is_named(
    encrypted_sink, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An https endpoint means TLS; _CERTIFICATE names the authority."""
    send_one(encrypted_sink, monkeypatch, CERTIFICATE=str(certificate[1]))

    assert encrypted_sink.spans == ["task"]


def test_a_private_certificate_is_not_trusted_unnamed(encrypted_sink, monkeypatch: pytest.MonkeyPatch) -> None:
    """The span is lost rather than sent to who knows whom; the agent goes on."""
    send_one(encrypted_sink, monkeypatch, TIMEOUT="1")

    assert encrypted_sink.spans == []


def test_the_wheel_holds_one_package(tmp_path: Path) -> None:
    """Whoever installs it for an agent gets `otel_exporter` and nothing else of this repository."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(command, cwd=ROOT / "otel_exporter", check=True, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")

    names = zipfile.ZipFile(wheel).namelist()
    modules = sorted(name for name in names if ".dist-info/" not in name)
    sources = [*(ROOT / "otel_exporter").rglob("*.py"), ROOT / "otel_exporter" / "py.typed"]
    assert modules == sorted(str(path.relative_to(ROOT)) for path in sources)
