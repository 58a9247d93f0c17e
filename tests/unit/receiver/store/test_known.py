"""Which rows are known: by a filter that outlives a start, and that costs time alone where it is lost."""

import shutil
from pathlib import Path

import pytest

from receiver.days.files import filter_path
from receiver.store import identity
from receiver.store.identity import IdentityFilter
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


def test_after_a_kill_only_rows_since_the_filter_was_kept_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long the day: what is known is written down as it grows. Nothing known is forgotten."""
    monkeypatch.setattr("receiver.store.known.SAVE_EVERY_SPANS", 100)
    landing = Landing(tmp_path / "data")
    for first in (1, 61):
        landing.arrive(*(span(number) for number in range(first, first + 60)))
        landing.store.land()
        landing.store.keep_known()
    landing.arrive(*(span(number) for number in range(121, 151)))
    landing.store.land()
    shutil.copytree(tmp_path / "data", tmp_path / "killed")
    landing.store.close()
    num_read: list[int] = []
    real = identity.hashes
    monkeypatch.setattr(identity, "hashes", lambda rows: num_read.append(rows.num_rows) or real(rows))  # type: ignore[func-returns-value]

    again = Landing(tmp_path / "killed")

    assert sum(num_read) == 30
    again.arrive(*(span(number) for number in range(1, 152)))
    assert again.store.counts["duplicate_spans"] == 150
    again.store.close()


def test_a_filter_of_other_rows_is_not_believed(tmp_path: Path) -> None:
    """Beside a day file that was put back from a backup, say."""
    three_days(tmp_path).store.close()
    IdentityFilter().save(filter_path(tmp_path, FIRST), num_rows=7, reached_seq=1)

    landing = Landing(tmp_path)
    landing.arrive(span(1, name="x" * 50), received_ns=DAY + 2 * DAY_NS)

    assert landing.store.counts["duplicate_spans"] == 1
    landing.store.close()
