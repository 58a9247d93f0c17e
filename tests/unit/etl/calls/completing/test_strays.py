"""Records of messages that stand on the span around their call."""

from etl.calls.completing.strays import adopt_strays
from etl.dialects.shapes.message_events import MESSAGE_EVENTS
from etl.dialects.spans import LogRecord, Span

EVENT = min(MESSAGE_EVENTS)


def made(
    name: str, parent: str | None, start: int, end: int, *, scope: str = "lib", logs: tuple[LogRecord, ...] = ()
) -> Span:
    return Span(0, "p", "t", name, parent, name, start, end, None, None, scope, None, {}, logs=list(logs))


def record(at: int, *, event: str = EVENT, scope: str = "lib") -> LogRecord:
    return LogRecord(event, at, None, {}, scope)


def test_a_record_goes_to_the_one_call_that_lasted_when_it_was_written() -> None:
    """Of its own scope, below the span that has it."""
    around = made("around", None, 0, 20, scope="app", logs=(record(3), record(13)))
    first, second = made("a", "around", 1, 5), made("b", "around", 11, 15)

    adopt_strays([around, first, second])

    assert [[each.time_ns for each in span.logs] for span in (around, first, second)] == [[], [3], [13]]


def test_what_may_be_of_several_calls_or_of_none_stays() -> None:
    """Also a record of the span's own scope, and one that is no message."""
    logs = (record(3), record(9), record(3, scope="app"), record(3, event="something else"), record(3, scope=""))
    around = made("around", None, 0, 20, scope="app", logs=logs)
    children = [made("a", "around", 1, 5), made("b", "around", 2, 6), made("c", "around", 1, 5, scope="other")]

    adopt_strays([around, *children])

    assert around.logs == list(logs)
    assert all(child.logs == [] for child in children)
