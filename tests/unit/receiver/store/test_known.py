"""Which rows are known: by a filter that outlives a start, and that costs time alone where it is lost."""

from pathlib import Path

import pytest

from receiver.days.files import filter_path
from tests.export_requests import span
from tests.unit.receiver.days.three_days import FIRST, three_days
from tests.unit.receiver.store.test_landing import DAY, DAY_NS, Landing


@pytest.mark.parametrize("kept", ["whole", "gone", "damaged"])
def test_a_span_stays_known_over_a_start_whatever_became_of_the_filter(tmp_path: Path, kept: str) -> None:
    """It is made anew from the rows where the file beside the day does not say."""
    three_days(tmp_path).store.close()
    path = filter_path(tmp_path, FIRST)
    if kept == "gone":
        path.unlink()
    elif kept == "damaged":
        path.write_bytes(path.read_bytes()[:10])

    landing = Landing(tmp_path)
    landing.arrive(span(1, name="x" * 50), received_ns=DAY + 2 * DAY_NS)

    assert landing.store.counts["duplicate_spans"] == 1
    assert landing.query("select count(*) from spans") == [(3,)]
    landing.store.close()


def test_a_day_that_was_removed_is_forgotten(tmp_path: Path) -> None:
    """A span of it that comes again is new: nothing else has it any more."""
    landing = three_days(tmp_path)
    landing.store.retire([FIRST])

    landing.arrive(span(1, name="again"), received_ns=DAY + 2 * DAY_NS)
    landing.arrive_logs("hello", received_ns=DAY + 2 * DAY_NS)

    assert landing.query("select count(*) from spans where name = 'again'") == [(1,)]
    assert landing.store.counts["duplicate_log_records"] == 1
