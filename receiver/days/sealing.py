"""A day is sealed: what takes no more rows is compacted and from then on opened read-only."""

from collections.abc import Iterator
from datetime import date

from foundation.files import make_private
from foundation.narration import get_logger
from receiver.days.copies import copy_day, is_compacted
from receiver.days.files import day_path, is_sealed
from receiver.days.held import HeldDays

log = get_logger("receiver")


def seal(days: HeldDays, today: date) -> Iterator[date]:
    """Compact the days that take no more writes, yield each, and open them read-only.

    Neither landing nor queries wait for it: those under way go on reading the file as it was. A day that cannot be
    compacted now, for want of space say, stays readable as it is.
    """
    for day in [day for day in days.sealed if is_sealed(day, today)]:
        path = day_path(days.data, day)
        if not days.sealed[day]:
            with days.writing:
                days.checkpoint(day)
                if path.with_suffix(".duckdb.wal").exists():
                    continue  # a reader keeps DuckDB from folding its log; the next minute will do
                days.sealed[day] = True
        if not is_compacted(days.connection, days.name(day)):
            _compact(days, day)
            yield day
            log.info("sealed", day=day.isoformat(), size_bytes=path.stat().st_size)
        elif not days.opened.is_read_only(day):
            with days.writing, days.lock:
                days.opened.reopen_read_only(day, path)


def _compact(days: HeldDays, day: date) -> None:
    path = day_path(days.data, day)
    compacted = path.with_suffix(".compacting")
    with days.cursor() as cursor:
        copy_day(cursor, days.name(day), compacted, compact=True)
    make_private(compacted)
    days.opened.replace(day, compacted, path, lock=days.lock)
