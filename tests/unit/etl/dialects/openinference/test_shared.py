"""How OpenInference's failed spans tell their error."""

from typing import Any

from etl.dialects.openinference.shared import error_told
from etl.dialects.spans import Span


def failed(status: str | None, *events: dict[str, Any]) -> Span:
    return Span(0, "p", "t", "s", None, "x", 0, 1, "error", status, "", None, {}, list(events))


def raised(kind: str | None, text: str | None) -> dict[str, Any]:
    fields = {"exception.type": kind, "exception.message": text}
    return {"name": "exception", "attributes": {key: value for key, value in fields.items() if value is not None}}


def test_the_kind_is_the_exceptions_and_the_status_has_the_word() -> None:
    """The status is what was said last; the exception completes it."""
    error = error_told(failed("Error code: 429 - slow down", raised("RateLimitError", "another text")))

    assert [error["type"], error["http_status"]] == ["RateLimitError", 429]
    assert "slow down" in error["message"]


def test_without_a_status_message_the_first_exceptions_text_stands() -> None:
    """Where an error was wrapped, what it was first is what happened; its last name is kept."""
    error = error_told(failed(None, raised("Timeout", "took too long"), raised("APIError", "it failed")))

    assert [error["message"], error["type"]] == ["took too long", "APIError"]


def test_a_failure_that_tells_nothing_is_still_an_error() -> None:
    """Other events, and exceptions without any attributes."""
    error = error_told(failed(None, {"name": "retry"}, {"name": "exception", "attributes": None}))

    assert [error["message"], error["type"], error["http_status"]] == [None, None, None]
