"""Adds Spanloop to the tracer provider that is already in place. Never installs one."""

import logging
import threading
import weakref
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from otel_exporter.exporter import SpanloopExporter

log = logging.getLogger(__name__)

_attached: "weakref.WeakSet[TracerProvider]" = weakref.WeakSet()
_attached_logs: "weakref.WeakSet[Any]" = weakref.WeakSet()
_lock = threading.Lock()


def attach(provider: trace.TracerProvider | None = None, *, logger_provider: Any = None) -> bool:  # noqa: ANN401
    """Send the spans of a tracer provider to Spanloop too; tell whether they are being sent.

    Without an argument it is the global provider: call it once that is set. A second call changes nothing. False, with
    a warning, when there is no provider of the OpenTelemetry SDK to add a processor to. The records of a
    `logger_provider` are sent too where one is given, whatever became of the spans: some instrumentations put messages
    there.
    """
    with _lock:
        if logger_provider is not None:
            _attach_logs(logger_provider)
        provider = provider or trace.get_tracer_provider()
        if not isinstance(provider, TracerProvider):
            _warn("spans", provider, "span", "tracer provider")
            return False
        if provider not in _attached:
            provider.add_span_processor(BatchSpanProcessor(SpanloopExporter()))
            _attached.add(provider)
    return True


def _attach_logs(provider: Any) -> None:  # noqa: ANN401
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

    from otel_exporter.log_exporter import SpanloopLogExporter

    if not isinstance(provider, LoggerProvider):
        _warn("log records", provider, "log record", "logger provider")
    elif provider not in _attached_logs:
        provider.add_log_record_processor(BatchLogRecordProcessor(SpanloopLogExporter()))
        _attached_logs.add(provider)


def _warn(what: str, provider: object, kind: str, name: str) -> None:
    log.warning(
        "no %s go to Spanloop: %s takes no %s processors. Set up OpenTelemetry's %s first, or pass it to attach()",
        what,
        type(provider).__name__,
        kind,
        name,
    )
