"""Which days are past their time, and their removal."""

from datetime import date, timedelta
from pathlib import Path

from foundation.files import sync_directory
from receiver.days.files import day_files, day_path, filter_path, is_sealed


def expired(data: Path, *, today: date, retain_days: int | None, retain_bytes: int | None) -> list[date]:
    """Return the sealed days to remove, oldest first: those too old, then as many as the size asks for."""
    days = day_files(data)
    sealed = [day for day in days if is_sealed(day, today)]
    gone = [day for day in sealed if retain_days is not None and day <= today - timedelta(days=retain_days)]
    if retain_bytes is not None:
        kept_bytes = sum(path.stat().st_size for day, path in days.items() if day not in gone)
        for day in [day for day in sealed if day not in gone]:
            if kept_bytes <= retain_bytes:
                break
            kept_bytes -= days[day].stat().st_size
            gone.append(day)
    return gone


def remove_day(data: Path, day: date) -> int:
    """Remove the files of a day; return the bytes that were freed."""
    path = day_path(data, day)
    freed = path.stat().st_size
    for file in (path, path.with_suffix(".duckdb.wal"), filter_path(data, day)):
        file.unlink(missing_ok=True)
    sync_directory(path.parent)
    return freed
