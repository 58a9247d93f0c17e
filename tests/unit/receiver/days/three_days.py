"""A store with spans on three days, which tests of the day files start from."""

from datetime import date
from pathlib import Path

from tests.export_requests import span
from tests.unit.receiver.store.test_landing import DAY, DAY_NS, Landing

FIRST = date(2026, 3, 1)


def three_days(data: Path, *, one_each: bool = False) -> Landing:
    """Spans 1, 2, 3 of a trace, or of one each, received on three days in a row; the clock stands on the third."""
    landing = Landing(data)
    for number in range(3):
        trace = {"trace_id": bytes(15) + bytes([number + 1])} if one_each else {}
        landing.arrive(span(number + 1, name="x" * 50, **trace), received_ns=DAY + number * DAY_NS)
    landing.arrive_logs("hello", received_ns=DAY + 2 * DAY_NS)
    landing.store.land()
    return landing
