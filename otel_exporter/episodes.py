"""Says on OpenTelemetry's spans what they belong to: an attempt at a task, and what is known of it."""

from types import TracebackType
from typing import Any

from opentelemetry import trace

from otel_exporter.blocks import Attempt


class episode(Attempt[trace.Span]):  # noqa: N801 - reads as a verb where it is used, as in the tracker
    """One attempt at one task, as `Attempt` says: a span by the provider that is set up. The block gets the span."""

    _entered: "list[Any] | None" = None

    def __enter__(self) -> trace.Span:
        block = trace.get_tracer("otel_exporter").start_as_current_span(self.name, attributes=self.values)
        span = block.__enter__()
        self._entered = [*(self._entered or ()), block]
        return span

    def __exit__(
        self, kind: "type[BaseException] | None", error: "BaseException | None", where: "TracebackType | None"
    ) -> None:
        if self._entered:
            self._entered.pop().__exit__(kind, error, where)


def annotate(**values: Any) -> bool:  # noqa: ANN401
    """Add attributes to the current span; tell whether one is being recorded."""
    span = trace.get_current_span()
    if not span.is_recording():
        return False
    span.set_attributes(values)
    return True
