"""Errors in their own words, and what only a stack trace says of them."""

from typing import Any

import pytest

from etl.calls.completing.errors import complete_errors, error_text
from etl.dialects.spans import LlmCall
from tests.unit.etl.calls.made import seen

TRACE = 'Traceback (most recent call last):\n  File "shop.py", line 3, in order\n    raise OutOfStock()\n'
TOLD = "openai.RateLimitError: Error code: 429 - {'error': {'message': 'Slow down', 'code': 'rate_limit'}}"


@pytest.mark.parametrize(
    ("recorded", "words"),
    [
        ("no stock", "no stock"),
        ("shop.OrderError: no stock\nleft: 0", "no stock\nleft: 0"),
        ("OrderError('no stock',)", "no stock"),
        ("", ""),
        (f"no stock\n{TRACE}ValueError: other", "no stock"),
        (f"{TRACE}ValueError: no stock\nleft: 0\n", "no stock\nleft: 0"),
        (f"{TRACE}shop.OutOfStock\n", "shop.OutOfStock"),
        (f"{TRACE}KeyError: 'x'\n\nDuring handling of it:\n\n{TRACE}ValueError: no stock", "no stock"),
        ("ValueErrors are common: no", "ValueErrors are common: no"),
    ],
)
def test_an_error_is_its_own_words(recorded: str, words: str) -> None:
    """Without its class and its frames; an error that is a traceback and nothing else keeps what it says."""
    assert error_text(recorded) == words


def failed(message: str | None, trace: object, *, on_span: bool = False, **known: Any) -> LlmCall:
    error = {"http_status": None, "code": None, "message": message, "type": "X", **known}
    call = seen(error=error)
    if on_span:
        call.span.attributes["error.stack_trace"] = trace
    else:
        call.span.events.append({"name": "exception", "attributes": {"exception.stacktrace": trace}})
    return call


@pytest.mark.parametrize("on_span", [False, True])
def test_a_stack_trace_tells_the_status_that_a_framework_leaves_out(on_span: bool) -> None:
    """From the event or the attribute; the words stay the framework's where they are others."""
    call = failed("The model is busy", f"{TRACE}{TOLD}\n", on_span=on_span)

    complete_errors([call])

    assert call.error == {"http_status": 429, "code": "rate_limit", "message": "The model is busy", "type": "X"}


def test_words_around_the_clients_own_are_taken_off() -> None:
    """The message that a framework wrapped is the client's, and the same everywhere."""
    call = failed("Run failed: Slow down (429)", TOLD)

    complete_errors([call])

    assert call.error is not None
    assert call.error["message"] == "Slow down"


def test_what_was_recorded_is_not_replaced() -> None:
    """The last of several exceptions speaks, and only where nothing was known; odd traces are none."""
    known = failed("m", f"{TOLD}\nother.APIError: Error code: 500 - {{'error': {{'code': 'down'}}}}", http_status=503)
    whole = failed("m", TOLD, http_status=400, code="bad")
    odd = failed("m", {"frames": []})
    odd.span.events.append({"name": "exception", "attributes": None})

    complete_errors([known, whole, odd, seen()])

    statuses = [(call.error["http_status"], call.error["code"]) for call in (known, whole, odd) if call.error]
    assert statuses == [(503, "down"), (400, "bad"), (None, None)]
