"""attach() adds a processor to the provider that is there, once, and never installs one."""

from collections.abc import Iterator

import pytest
from opentelemetry import trace
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_exporter import attach


@pytest.fixture
def provider() -> Iterator[TracerProvider]:
    """Yield a provider that is shut down at the end: nobody listens where its spans would go."""
    provider = TracerProvider()
    yield provider
    provider.shutdown()


def processors_of(provider: TracerProvider) -> tuple[object, ...]:
    """Return the processors of a provider; the SDK has no public way."""
    return provider._active_span_processor._span_processors


def test_a_provider_gets_one_processor_however_often(provider: TracerProvider) -> None:
    """Two libraries of one program may both call it."""
    assert attach(provider)
    assert attach(provider)

    [processor] = processors_of(provider)
    assert isinstance(processor, BatchSpanProcessor)


def test_providers_are_told_apart(provider: TracerProvider) -> None:
    """A second provider gets its own processor."""
    other = TracerProvider()
    try:
        assert attach(provider)
        assert attach(other)
        assert len(processors_of(other)) == 1
    finally:
        other.shutdown()


def test_the_processors_already_there_stay(provider: TracerProvider) -> None:
    """The vendor's export goes on as before."""
    vendor = BatchSpanProcessor(InMemorySpanExporter())
    provider.add_span_processor(vendor)

    attach(provider)

    assert processors_of(provider)[0] is vendor
    assert len(processors_of(provider)) == 2


def test_no_provider_is_installed_where_there_is_none(caplog: pytest.LogCaptureFixture) -> None:
    """OpenTelemetry's default provider takes no processors: the answer is False and says what to do."""
    before = trace.get_tracer_provider()

    assert not attach()

    assert trace.get_tracer_provider() is before
    assert "Set up OpenTelemetry's tracer provider first" in caplog.text


def test_log_records_go_whatever_became_of_the_spans() -> None:
    """An agent may have set up the one and not the other."""
    logs = LoggerProvider()
    try:
        assert not attach(logger_provider=logs)
        assert not attach(logger_provider=logs)
        assert len(logs._multi_log_record_processor._log_record_processors) == 1
    finally:
        logs.shutdown()


def test_a_logger_provider_of_another_make_harms_nobody(
    provider: TracerProvider, caplog: pytest.LogCaptureFixture
) -> None:
    """It is named; the spans go."""
    assert attach(provider, logger_provider=object())

    assert "object takes no log record processors" in caplog.text
