"""The exporter behind `OTEL_LOGS_EXPORTER=otlp,spanloop`: GenAI messages and evaluations may come as log records."""

from collections.abc import Sequence
from os import environ
from typing import Any

from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.sdk._logs import export as sdk

from otel_exporter.exporter import Exporting

# The SDK renamed both, and kept the old names for a while only.
Base: Any = getattr(sdk, "LogRecordExporter", None) or sdk.LogExporter
Result: Any = getattr(sdk, "LogRecordExportResult", None) or sdk.LogExportResult


class SpanloopLogExporter(Base):  # type: ignore[misc]
    """Sends log records to Spanloop, as `SpanloopExporter` does spans."""

    def __init__(self) -> None:
        self._exporting = Exporting("logs", encode_logs, environ)

    def export(self, batch: Sequence[Any]) -> Any:  # noqa: ANN401 - the SDK's result
        """Put a batch of records on its way."""
        return Result.SUCCESS if self._exporting.take(batch) else Result.FAILURE

    def shutdown(self) -> None:
        """Send what waits, for at most two seconds, and take no more."""
        self._exporting.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Send what waits; tell whether all of it left within the time."""
        return self._exporting.flush(timeout_millis / 1000)
