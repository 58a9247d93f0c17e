"""What is put aside comes back whole and in order, in requests that any receiver takes."""

import io

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from receiver.decode.otlp import REQUESTS, Signal
from receiver.history import aside as module
from receiver.history.aside import Aside
from receiver.history.records import Score


def span(number: int, name: str = "s") -> Span:
    return Span(trace_id=bytes(15) + bytes([number]), span_id=bytes(7) + bytes([number]), name=name)


def score(number: int, **fields: object) -> Score:
    told = {"name": "n", "value": 1.0, "time_ns": 7, "trace_id": bytes(16), "span_id": bytes(8), **fields}
    return Score(**told)  # type: ignore[arg-type]


def read(aside: Aside) -> list[tuple[Signal, list[str]]]:
    """Return the names in each request."""
    found = []
    for signal, body in aside.requests():
        request = REQUESTS[signal].FromString(body)
        if signal is Signal.TRACES:
            names = [one.name for one in request.resource_spans[0].scope_spans[0].spans]
        else:
            names = [one.event_name for one in request.resource_logs[0].scope_logs[0].log_records]
        found.append((signal, names))
    return found


def test_a_request_is_full_of_records_or_of_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever comes first; one that is larger than a request goes alone, and what is begun is written at the end."""
    monkeypatch.setattr(module, "REQUEST_RECORDS", 2)
    monkeypatch.setattr(module, "REQUEST_BYTES", 500)
    aside = Aside(io.BytesIO(), "acme")

    for number, name in enumerate(("a", "b", "c" * 600, "d")):
        aside.add(span(number, name))
    assert [names for _, names in read(aside)] == [["a", "b"], ["c" * 600]]

    aside.end_file()
    aside.end_file()
    assert [names for _, names in read(aside)] == [["a", "b"], ["c" * 600], ["d"]]


def test_reading_does_not_disturb_what_is_still_to_come() -> None:
    """It may be read between two files, as often as somebody likes."""
    aside = Aside(io.BytesIO(), "acme")
    aside.add(span(1, "a"))
    aside.end_file()
    next(aside.requests())
    read(aside)

    aside.add(span(2, "b"))
    aside.end_file()

    assert read(aside) == [(Signal.TRACES, ["a"]), (Signal.TRACES, ["b"])]


def test_every_request_says_where_it_came_from() -> None:
    """Spans and scores apart."""
    aside = Aside(io.BytesIO(), "acme")
    aside.add(span(1, "a"))
    aside.add(score(1))
    aside.end_file()

    bodies = dict(aside.requests())
    spans = REQUESTS[Signal.TRACES].FromString(bodies[Signal.TRACES]).resource_spans[0]
    logs = REQUESTS[Signal.LOGS].FromString(bodies[Signal.LOGS]).resource_logs[0]
    for resource, scope in ((spans.resource, spans.scope_spans[0]), (logs.resource, logs.scope_logs[0])):
        assert [(entry.key, entry.value.string_value) for entry in resource.attributes] == [
            ("spanloop.import.source", "acme")
        ]
        assert scope.scope.name == "spanloop.import.acme"


def test_a_score_of_zero_is_one_and_what_is_not_known_is_left_out() -> None:
    """A label alone is a score too."""
    aside = Aside(io.BytesIO(), "acme")
    aside.add(score(1, value=0.0))
    aside.add(score(2, value=None, label="bad"))
    aside.end_file()

    ((_, body),) = aside.requests()
    records = REQUESTS[Signal.LOGS].FromString(body).resource_logs[0].scope_logs[0].log_records
    assert [[entry.key for entry in record.attributes] for record in records] == [
        ["gen_ai.evaluation.name", "gen_ai.evaluation.score.value"],
        ["gen_ai.evaluation.name", "gen_ai.evaluation.score.label"],
    ]


def test_spans_are_found_by_id_wherever_they_were_put() -> None:
    """Those that are not here are not told of."""
    aside = Aside(io.BytesIO(), "acme")
    for number in (1, 2, 3):
        aside.add(span(number))
        aside.end_file()
    wanted = {span(number).span_id for number in (1, 3, 9)}

    assert aside.traces_of(wanted) == {span(number).span_id: span(number).trace_id for number in (1, 3)}
