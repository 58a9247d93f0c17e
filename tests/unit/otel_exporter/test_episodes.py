"""An episode is a span around what happens in it, and may be named, judged and annotated."""

import asyncio
from collections.abc import Iterator

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_exporter import annotate, episode


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """Keep the spans of the global provider."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    yield exporter
    provider.shutdown()


def test_a_block_is_an_episode(ended: InMemorySpanExporter) -> None:
    """With its ids on the span, and what is annotated inside."""
    with episode("ticket-4711", task="refund", conversation="user-7", split="heldout", channel="mail"):
        assert annotate(attempt=2)

    [span] = ended.get_finished_spans()
    assert dict(span.attributes or {}) == {
        "spanloop.episode.id": "ticket-4711",
        "spanloop.task.id": "refund",
        "gen_ai.conversation.id": "user-7",
        "spanloop.split": "heldout",
        "channel": "mail",
        "attempt": 2,
    }


def test_each_call_of_a_decorated_function_is_one(ended: InMemorySpanExporter) -> None:
    """Sync and async, one within another, and with an error."""

    @episode(task="sum")
    async def inner() -> int:
        await asyncio.sleep(0)
        return 3

    @episode(task="both")
    def outer() -> int:
        return asyncio.run(inner())

    @episode(task="fails")
    def fails() -> None:
        raise ValueError

    assert outer() + outer() == 6
    with pytest.raises(ValueError):  # noqa: PT011 - ours, above
        fails()

    spans = ended.get_finished_spans()
    assert [(span.attributes or {})["spanloop.task.id"] for span in spans] == ["sum", "both", "sum", "both", "fails"]
    assert not spans[-1].status.is_ok


def test_without_a_provider_nothing_happens_and_nothing_fails() -> None:
    """The agent runs the same where tracing is off."""
    with episode("a"):
        assert not annotate(a=1)
