"""A backup of every day, with the keys and the number reached: made in a staging directory, moved where it belongs."""

import os
import shutil
from collections.abc import Mapping
from datetime import date
from pathlib import Path

import duckdb

from foundation.files import sync_directory
from foundation.web.keys import keys_path
from receiver.days import sequence
from receiver.days.copies import copy_day, is_compacted
from receiver.tables import spans_directory


def back_up(connection: duckdb.DuckDBPyConnection, data: Path, days: Mapping[date, str], staging: Path) -> None:
    """Copy days, attached under the names given, into a new directory, each whole, with keys and sequence."""
    staging.mkdir(mode=0o700, parents=True)  # nothing may have landed yet, and no directory of days be there
    for day, name in days.items():
        copy_day(connection, name, staging / f"{day.isoformat()}.duckdb", compact=is_compacted(connection, name))
    for path in (keys_path(data), sequence.sequence_path(data)):
        if path.exists():
            shutil.copy2(path, staging / path.name)


def take_copies(staging: Path, out: Path) -> None:
    """Move what was backed up into the places a DATA directory has for it, durably."""
    spans = spans_directory(out)
    spans.mkdir(mode=0o700)
    for file in sorted(staging.iterdir()):
        target = spans / file.name if file.suffix == ".duckdb" else out / file.name
        shutil.move(file, target)
        target.chmod(0o600)
        with target.open("rb") as copied:
            os.fsync(copied.fileno())
    sync_directory(spans)
