"""The exporter takes its own settings alone, and never raises into the agent, blocks it, or outlives it."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult

from otel_exporter import exporter
from otel_exporter.exporter import SpanloopExporter, connect
from otel_exporter.sending.post import Unreachable, read_settings


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start from an environment without settings of either exporter."""
    for name in list(os.environ):
        if name.startswith(("OTEL_", "SPANLOOP_")):
            monkeypatch.delenv(name)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[ExportTraceServiceRequest]:
    """Return the requests that would go to the receiver."""
    requests: list[ExportTraceServiceRequest] = []
    monkeypatch.setattr(
        exporter, "connect", lambda _: lambda _, body: requests.append(ExportTraceServiceRequest.FromString(body))
    )
    monkeypatch.setattr(exporter, "_shared", {})
    return requests


def run(work: Callable[[Any], None]) -> None:
    """Do some traced work with our exporter on the provider, to its end."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(SpanloopExporter()))
    work(provider.get_tracer("tests"))
    provider.shutdown()


def spans_of(requests: list[ExportTraceServiceRequest]) -> dict[str, dict[str, Any]]:
    """Return spans by name, attributes as a dictionary."""
    return {
        span.name: {pair.key: pair.value.string_value or pair.value.int_value for pair in span.attributes}
        for request in requests
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTLP_PROTOCOL", "smoke-signals"),
        ("OTLP_COMPRESSION", "zip"),
        ("OTLP_TIMEOUT", "soon"),
        ("OTLP_CERTIFICATE", "/no/such/file"),
        ("OTLP_CLIENT_KEY", "/no/such/file"),
        ("SELECT", "some"),
        ("REDACT", "emails"),
        ("CUT_LENGTH", "9"),
    ],
)
def test_wrong_settings_leave_it_idle(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One warning that names the problem; the agent goes on and so does its other exporter."""
    monkeypatch.setenv(f"SPANLOOP_EXPORTER_{name}", value)

    one = SpanloopExporter()

    assert len(caplog.records) == 1
    assert name in caplog.text or value.upper() in caplog.text or value in caplog.text
    assert one.export([]) is SpanExportResult.FAILURE
    assert one.force_flush()
    one.shutdown()


def test_settings_of_the_vendor_are_never_read() -> None:
    """Neither its endpoint nor its keys, certificates or compression."""
    vendor = {
        f"OTEL_EXPORTER_OTLP_{name}": "x" for name in ("ENDPOINT", "HEADERS", "CERTIFICATE", "COMPRESSION", "TIMEOUT")
    }

    assert read_settings(vendor) == read_settings({})
    connect({**vendor, "SPANLOOP_EXPORTER_OTLP_PROTOCOL": "http/protobuf"})
    connect(vendor)


def test_half_an_identity_is_named(tmp_path: Path) -> None:
    """A certificate without its key shows nothing to anybody."""
    with pytest.raises(ValueError, match="CLIENT_KEY go together"):
        read_settings({"SPANLOOP_EXPORTER_OTLP_CLIENT_CERTIFICATE": str(tmp_path)})


def test_spans_of_agents_are_chosen_with_all_that_lies_above_them(
    sent: list[ExportTraceServiceRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that ends after its parent, a reward on a plain root, and the request to the model's endpoint."""
    monkeypatch.setenv("SPANLOOP_EXPORTER_SELECT", "agents")

    def work(tracer: Any) -> None:
        with tracer.start_as_current_span("server"):
            with tracer.start_as_current_span("cache"):
                pass
            with tracer.start_as_current_span("service"):
                late = tracer.start_span("chat", attributes={"gen_ai.operation.name": "chat"})
                with tracer.start_as_current_span("POST", attributes={"url.full": "http://h/v1/chat/completions"}):
                    pass
                with tracer.start_as_current_span("db", attributes={"db.system": "x", "url.full": "http://h/query"}):
                    pass
        late.end()
        with tracer.start_as_current_span("task") as span:
            span.add_event("gen_ai.evaluation.result")
        with tracer.start_as_current_span("health"):
            pass

    run(work)

    assert set(spans_of(sent)) == {"server", "service", "chat", "POST", "task"}


def test_an_ancestor_that_ended_before_its_late_child_still_goes(
    sent: list[ExportTraceServiceRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A background task may call the model after the request that began it was answered."""
    monkeypatch.setenv("SPANLOOP_EXPORTER_SELECT", "agents")

    def work(tracer: Any) -> None:
        with tracer.start_as_current_span("root"), tracer.start_as_current_span("parent"):
            late = tracer.start_span("chat", attributes={"llm.model_name": "m"})
        late.end()

    run(work)

    assert set(spans_of(sent)) == {"root", "parent", "chat"}


def test_what_leaves_is_redacted_and_cut_and_the_vendor_s_spans_are_not(
    sent: list[ExportTraceServiceRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stages work on what is sent; other exporters of the process see the spans as they were."""
    monkeypatch.setenv("SPANLOOP_EXPORTER_REDACT", "all")
    monkeypatch.setenv("SPANLOOP_EXPORTER_CUT_MEDIA", "true")
    monkeypatch.setenv("SPANLOOP_EXPORTER_CUT_LENGTH", "2000")
    seen: list[Any] = []

    def work(tracer: Any) -> None:
        image = '[{"image_url": {"url": "data:image/png;base64,' + "iVBORw0KGgo" * 200 + '"}}]'
        values = {"a": "to alice@example.com", "image": image, "long": "word " * 1000}
        with tracer.start_as_current_span("mail bob@example.com", attributes=values) as span:
            span.add_event("sent", {"to": "alice@example.com"})
            seen.append(span)

    run(work)

    [(name, values)] = spans_of(sent).items()
    assert b"example.com" not in sent[0].SerializeToString()
    assert name.startswith("mail <EMAIL_")
    assert "<redacted> image/png, " in values["image"]
    assert values["long"].endswith("… truncated, it had 5000")
    assert (values["spanloop.cut"], values["spanloop.redacted"]) == (2, 2)
    assert seen[0].attributes["a"] == "to alice@example.com"


def test_a_stage_that_fails_costs_its_span_and_says_so_once(
    sent: list[ExportTraceServiceRequest], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing goes unredacted, nothing is raised, nothing of the span is in the log."""
    monkeypatch.setenv("SPANLOOP_EXPORTER_REDACT", "all")

    def fail(*_: object) -> int:
        raise RuntimeError("secret")

    monkeypatch.setattr(exporter, "change", fail)

    def work(tracer: Any) -> None:
        for _ in range(3):
            tracer.start_span("a").end()

    run(work)

    assert sent == []
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "secret" not in caplog.text


def test_a_shutdown_in_the_middle_of_an_export_raises_nothing(
    sent: list[ExportTraceServiceRequest], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The SDK may give up waiting for its own thread; what comes too late is counted and said."""
    ours = SpanloopExporter()
    encode = ours._exporting._encode

    def ends_meanwhile(spans: Any) -> Any:
        ours.shutdown()
        return encode(spans)

    monkeypatch.setattr(ours._exporting, "_encode", ends_meanwhile)
    span = TracerProvider().get_tracer("tests").start_span("late")
    span.end()

    ours.export([span])  # type: ignore[list-item]

    assert sent == []
    assert "1 spans or records did not reach Spanloop" in caplog.text


def test_the_agent_waits_for_nobody_and_what_waits_at_its_end_lies_on_disk(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A receiver that takes a connection and says nothing: exports return, the end comes, the spool has the spans."""
    hung = threading.Event()

    def post(_: str, __: bytes) -> None:
        hung.wait()

    monkeypatch.setattr(exporter, "connect", lambda _: post)
    monkeypatch.setattr(exporter, "_shared", {})
    monkeypatch.setattr(exporter, "LEAVING_S", 0.1)
    monkeypatch.setenv("SPANLOOP_EXPORTER_OTLP_SPOOL", str(tmp_path))

    run(lambda tracer: tracer.start_span("kept").end())

    [kept] = (tmp_path / "grpc").glob("*.traces.otlp")
    assert list(spans_of([ExportTraceServiceRequest.FromString(kept.read_bytes())])) == ["kept"]
    hung.set()


def test_what_a_process_before_left_on_disk_is_sent(
    sent: list[ExportTraceServiceRequest], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An outage may outlast the agent."""
    monkeypatch.setenv("SPANLOOP_EXPORTER_OTLP_SPOOL", str(tmp_path))

    def away(*_: object) -> None:
        raise Unreachable("away")

    with monkeypatch.context() as outage:
        outage.setattr(exporter, "connect", lambda _: away)
        outage.setattr(exporter, "_shared", {})
        run(lambda tracer: tracer.start_span("before").end())
    run(lambda tracer: tracer.start_span("after").end())

    assert set(spans_of(sent)) == {"before", "after"}


def test_a_forked_child_sends_its_own() -> None:
    """Whatever locks the parent held at that instant, the child neither waits nor sends the parent's spans again."""
    program = """
import os, threading
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from otel_exporter import exporter
names = []
def post(signal, body):
    for span in ExportTraceServiceRequest.FromString(body).resource_spans[0].scope_spans[0].spans:
        names.append(span.name)
exporter.connect = lambda _: post
provider = TracerProvider()
ours = exporter.SpanloopExporter()
provider.add_span_processor(SimpleSpanProcessor(ours))
tracer = provider.get_tracer("tests")
tracer.start_span("parent").end()
sender = next(iter(exporter._shared.values()))[0]
with sender._condition:
    pid = os.fork()
if pid == 0:
    names.clear()
    tracer.start_span("child").end()
    ours.force_flush()
    os._exit(0 if names == ["child"] else 1)
assert os.waitpid(pid, 0)[1] == 0
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
