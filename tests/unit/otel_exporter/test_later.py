"""A reward that comes after its span is a log record with the ids of what was judged."""

from collections.abc import Sequence
from typing import Any, ClassVar

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from otel_exporter import later


class Taken:
    """Stands where requests would be sent from, and makes them."""

    made: ClassVar[list["Taken"]] = []

    def __init__(self, signal: str, make: Any, _: Any) -> None:
        self.signal, self.make = signal, make
        self.requests: list[ExportLogsServiceRequest] = []
        self.made.append(self)

    def take(self, records: Sequence[Any]) -> bool:
        self.requests.append(self.make(records))
        return True

    def shutdown(self) -> None:
        """Nothing is waiting."""


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[Taken]:
    monkeypatch.setattr(Taken, "made", [])
    monkeypatch.setattr(later, "Exporting", Taken)
    monkeypatch.setattr(later, "_exporting", None)
    monkeypatch.setattr(later.atexit, "register", lambda _: None)
    return Taken.made


def name_of(record: LogRecord) -> str:
    """Return the name of an event, which OpenTelemetry 1.30 has among its attributes."""
    named = {entry.key: entry.value.string_value for entry in record.attributes}
    return str(getattr(record, "event_name", named.get("event.name")))


def test_ids_may_be_numbers_or_digits_and_all_go_the_same_way(taken: list[Taken]) -> None:
    """One connection for the process; a span is not needed."""
    assert later.send({"score": 1.0, "name": "outcome"}, trace_id="0A" * 16, span_id=255)
    assert later.send({}, trace_id=1, span_id=None)

    (one,) = taken
    first, second = (request.resource_logs[0].scope_logs[0].log_records[0] for request in one.requests)
    assert (one.signal, name_of(first)) == ("logs", "gen_ai.evaluation.result")
    assert (first.trace_id, first.span_id) == (b"\x0a" * 16, b"\0" * 7 + b"\xff")
    assert (second.trace_id, second.span_id) == (b"\0" * 15 + b"\1", b"")
    assert first.time_unix_nano > 0


def test_texts_and_numbers_keep_their_kind(taken: list[Taken]) -> None:
    """A score of 1 is a number, not text."""
    later.send({"score": 1, "name": "1"}, trace_id=1, span_id=None)

    (record,) = taken[0].requests[0].resource_logs[0].scope_logs[0].log_records
    values = {entry.key: entry.value.WhichOneof("value") for entry in record.attributes if entry.key != "event.name"}
    assert values == {"score": "double_value", "name": "string_value"}


@pytest.mark.parametrize(
    ("trace_id", "span_id"), [("0a" * 8, None), ("0a" * 16, "0a" * 16), ("0" * 32, None), (1 << 128, None), (1, -1)]
)
def test_an_id_that_is_none_is_said_and_nothing_is_sent(
    taken: list[Taken], caplog: pytest.LogCaptureFixture, trace_id: str | int, span_id: str | int | None
) -> None:
    """A span id in the place of a trace id is the mistake that happens."""
    assert not later.send({}, trace_id=trace_id, span_id=span_id)

    assert taken == []
    assert "32 hex digits" in caplog.text
