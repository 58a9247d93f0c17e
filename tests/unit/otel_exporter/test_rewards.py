"""A reward is an event on a span, and giving one never disturbs the agent."""

import logging

import numpy as np
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_exporter import reward


@pytest.fixture
def exported() -> InMemorySpanExporter:
    """Return what keeps the ended spans of `provider`."""
    return InMemorySpanExporter()


@pytest.fixture
def provider(exported: InMemorySpanExporter) -> TracerProvider:
    """Return a provider of our own: the global one stays untouched."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exported))
    return provider


def events(exported: InMemorySpanExporter) -> list[tuple[str, dict[str, object]]]:
    """Return the events of every ended span."""
    return [
        (event.name, dict(event.attributes or {})) for span in exported.get_finished_spans() for event in span.events
    ]


def test_the_current_span_gets_the_outcome(provider: TracerProvider, exported: InMemorySpanExporter) -> None:
    """With OpenTelemetry's own names, so that any exporter carries it and any reader knows it."""
    with provider.get_tracer("agent").start_as_current_span("task"):
        assert reward(1)

    assert events(exported) == [
        ("gen_ai.evaluation.result", {"gen_ai.evaluation.name": "outcome", "gen_ai.evaluation.score.value": 1.0})
    ]


def test_name_label_explanation_and_span_may_be_given(provider: TracerProvider, exported: InMemorySpanExporter) -> None:
    """A span other than the current one can be judged."""
    tracer = provider.get_tracer("agent")
    with tracer.start_as_current_span("task") as task, tracer.start_as_current_span("inner"):
        assert reward(0.5, "helpful", label="so-so", explanation="half of it", span=task)

    inner, outer = exported.get_finished_spans()
    assert inner.events == ()
    assert dict(outer.events[0].attributes or {}) == {
        "gen_ai.evaluation.name": "helpful",
        "gen_ai.evaluation.score.value": 0.5,
        "gen_ai.evaluation.score.label": "so-so",
        "gen_ai.evaluation.explanation": "half of it",
    }


@pytest.mark.parametrize("value", [True, np.float32(1), np.int64(1)])
def test_whatever_is_a_number_counts(value: float, provider: TracerProvider, exported: InMemorySpanExporter) -> None:
    """Graders return booleans and numpy scalars."""
    with provider.get_tracer("agent").start_as_current_span("task"):
        assert reward(value)

    assert events(exported)[0][1]["gen_ai.evaluation.score.value"] == 1.0


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, "1.0", [1.0], 10**309])
def test_what_is_no_finite_number_is_not_recorded(
    value: float, provider: TracerProvider, exported: InMemorySpanExporter, caplog: pytest.LogCaptureFixture
) -> None:
    """It says so and goes on; what the value was stays out of the log, for it may be anything."""
    with provider.get_tracer("agent").start_as_current_span("task"):
        assert not reward(value)

    assert events(exported) == []
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert type(value).__name__ in caplog.text


def test_without_a_span_nothing_is_recorded(caplog: pytest.LogCaptureFixture) -> None:
    """Outside a trace, and where the span was not sampled."""
    assert not reward(1.0)

    assert "no span is being recorded here" in caplog.text


def test_a_span_that_ended_takes_no_reward(provider: TracerProvider, exported: InMemorySpanExporter) -> None:
    """It has been exported already; rewards that come later have a way of their own."""
    span = provider.get_tracer("agent").start_span("task")
    span.end()

    assert not reward(1.0, span=span)
    assert events(exported) == []


@pytest.mark.parametrize(
    "trace_id", ["ab " * 10 + "ab", "0" * 32, "ab" * 15, "+" + "a" * 31, "_".join("ab" * 8), 0, -1, 1 << 128]
)
def test_what_is_no_id_of_a_trace_is_refused(trace_id: str | int, caplog: pytest.LogCaptureFixture) -> None:
    """OpenTelemetry's are sixteen bytes that are not all zero."""
    assert not reward(1.0, trace_id=trace_id)

    assert "a trace id has 32 hex digits" in caplog.text
