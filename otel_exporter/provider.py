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
    `logger_provider` are sent too where one is given: some instrumentations put messages there.
    """
    provider = provider or trace.get_tracer_provider()
    if not isinstance(provider, TracerProvider):
        log.warning(
            "no spans go to Spanloop: %s takes no span processors. "
            "Set up OpenTelemetry's tracer provider first, or pass it to attach()",
            type(provider).__name__,
        )
        return False
    with _lock:
        if provider not in _attached:
            provider.add_span_processor(BatchSpanProcessor(SpanloopExporter()))
            _attached.add(provider)
        if logger_provider is not None and logger_provider not in _attached_logs:
            from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

            from otel_exporter.log_exporter import SpanloopLogExporter

            logger_provider.add_log_record_processor(BatchLogRecordProcessor(SpanloopLogExporter()))
            _attached_logs.add(logger_provider)
    return True
