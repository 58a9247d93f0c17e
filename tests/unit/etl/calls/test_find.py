"""Which spans are read at all, and what of a stranger's values ends no run."""

from typing import Any

import pytest

from etl.calls.find import json_array, json_object, read_all, records_by_span
from etl.calls.readings import Readings
from etl.calls.tree import build_forest
from tests.spans import Span, evaluation, identifier, llm, logs_frame, span, spans_frame


def read(*rows: Span, logs: tuple[dict[str, Any], ...] = ()) -> Readings:
    frame = spans_frame(rows)
    return read_all(frame.with_row_index("row"), logs_frame(logs), build_forest(frame))


def record(name: str, at: int | None = 1, **fields: Any) -> dict[str, Any]:
    ids = {"project": "default", "trace_id": identifier("t", 32), "span_id": identifier(name, 16)}
    return {**ids, "event_name": "gen_ai.client.x", "time_ns": at, "attributes": "{}", "body": None, **fields}


def test_an_ordinary_span_is_not_even_parsed() -> None:
    """It stays in the tree; what a dialect may know is read under its row."""
    found = read(span("web", attributes={"http.route": "/"}), llm("call"))

    assert list(found.spans) == [1]
    assert [call.span.index for call in found.calls] == [1]


def test_what_only_an_event_or_a_record_tells_of_has_its_span_read() -> None:
    """Though nothing in the span's attributes says so."""
    quiet = {"http.route": "/"}

    found = read(
        span("judged", attributes=quiet, events=[evaluation(1.0)]),
        span("told", attributes=quiet),
        span("other", attributes=quiet),
        logs=(record("told"),),
    )

    assert sorted(found.spans) == [0, 1]
    assert len(found.spans[1].logs) == 1


def test_a_call_that_its_client_refused_never_was_one() -> None:
    """Its arguments were wrong, so there is a span and an error, and no model was asked; a provider's error is one."""
    failed = {"status": "error", "said": None}

    found = read(
        llm("refused", attributes={"error.type": "TypeError"}, **failed),
        llm("failed", attributes={"error.type": "RateLimitError"}, **failed),
    )

    assert [call.span.index for call in found.calls] == [1]


@pytest.mark.parametrize("text", [None, "", "{", "[1]", "7", '"a"', "nul"])
def test_attributes_that_are_no_object_read_as_empty(text: str | None) -> None:
    """Cut off half-way, or of another kind."""
    assert json_object(text) == {}


@pytest.mark.parametrize("text", [None, "", "[", "{}", "7", "null"])
def test_events_that_are_no_list_read_as_empty(text: str | None) -> None:
    """As above."""
    assert json_array(text) == []


def test_records_are_in_the_order_they_happened() -> None:
    """By when they were observed where that is all they tell."""
    frame = logs_frame(
        [
            record("a", at=5, event_name="gen_ai.second"),
            record("a", at=3, event_name="gen_ai.first"),
            record("a", at=None, observed_ns=9, event_name="gen_ai.third"),
        ]
    )

    (found,) = records_by_span(frame).values()

    assert [one.event_name for one in found] == ["gen_ai.first", "gen_ai.second", "gen_ai.third"]
    assert [one.time_ns for one in found] == [3, 5, 9]


def test_a_record_belongs_to_a_span_or_to_nothing() -> None:
    """And one of no model's business is left where it is, however it is attached."""
    frame = logs_frame(
        [record("a", span_id=None), record("a", trace_id=None), record("a", event_name="http.request", body='"role"x')]
    )

    assert list(records_by_span(frame.head(2))) == []
    assert list(records_by_span(logs_frame([record("a", event_name="http.request", body='"hello"')]))) == []


def test_a_body_that_is_no_json_costs_its_record_alone() -> None:
    """Its attributes and the other records are read."""
    frame = logs_frame([record("a", body='{"role": "us'), record("b", body='{"role": "user"}')])

    found = records_by_span(frame)

    assert [[one.body for one in records] for records in found.values()] == [[None], [{"role": "user"}]]
