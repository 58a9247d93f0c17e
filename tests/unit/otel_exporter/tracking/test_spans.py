"""A span of the tracker stands below the innermost one around it, ours or OpenTelemetry's."""

import pytest
from opentelemetry.sdk.trace import TracerProvider

from otel_exporter.schema import EPISODE_ID
from otel_exporter.tracking import outbox
from otel_exporter.tracking.spans import place, span, span_record
from tests.unit.otel_exporter.kept import Kept


def test_outermost_is_the_root_of_a_trace_of_its_own() -> None:
    """Nothing is around, so nothing is inherited either."""
    trace_id, parent_id, inherited = place()

    assert (len(trace_id), parent_id, inherited) == (32, None, {})
    assert place()[0] != trace_id


def test_the_innermost_of_ours_and_of_opentelemetrys_is_the_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where both are around, the episode is told on every span: their traces do not join it."""
    monkeypatch.setattr(outbox, "_shared", Kept())
    tracer = TracerProvider().get_tracer("t")
    with tracer.start_as_current_span("outer") as outer, span("ours") as ours:
        context = outer.get_span_context()
        assert (ours.trace_id, ours.parent_id) == (f"{context.trace_id:032x}", f"{context.span_id:016x}")
        assert place() == (ours.trace_id, ours.span_id, {})
    with span("around", {EPISODE_ID: "e"}) as around:
        assert place() == (around.trace_id, around.span_id, {EPISODE_ID: "e"})
        with tracer.start_as_current_span("inner") as inner:
            theirs = f"{inner.get_span_context().span_id:016x}"
            assert place()[1:] == (theirs, {EPISODE_ID: "e"})


def test_an_error_is_told_twice_for_two_kinds_of_readers() -> None:
    """As the status, and as the attribute of the conventions."""
    record = span_record("a" * 32, "b" * 16, None, "work", 1, 1, 2, {"n": 1}, "ValueError", [])

    assert record["status"] == {"code": 2, "message": "ValueError"}
    assert {one["key"] for one in record["attributes"]} == {"n", "error.type"}
    assert "parentSpanId" not in record
    assert "events" not in record
