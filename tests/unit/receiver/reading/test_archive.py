"""Sealed days in a store: every row once, whatever was killed when."""

import io
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from foundation.store.pointer import faults, read_pointer
from foundation.store.store import Store
from receiver.days.files import day_path
from receiver.days.forgetting import forget
from receiver.reading.archive import bucket_of, pointer_key, push_days, receiver_name
from receiver.tables import SPANS
from tests.stores import KINDS, killed_everywhere, new_store
from tests.unit.receiver.days.three_days import FIRST, three_days

TODAY = FIRST + timedelta(days=3)
"""The first two of three days are over and sealed."""


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return new_store(request.param, tmp_path)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three days, two of them sealed; nobody holds them."""
    landing = three_days(tmp_path / "data")
    landing.store.seal(TODAY)
    landing.store.close()
    return tmp_path / "data"


def rows(store: Store, data: Path, table: str) -> pl.DataFrame:
    """Return what the pointers of two days name."""
    frames = []
    for day in (FIRST, FIRST + timedelta(days=1)):
        pointer = read_pointer(store, pointer_key(day, receiver_name(data)))
        for key, said in pointer.files.items():
            if said["table"] == table:
                found = store.get(key)
                assert found is not None
                frames.append(pl.read_parquet(io.BytesIO(found.content)))
    return pl.concat(frames) if frames else pl.DataFrame()


def test_sealed_days_are_written_once(store: Store, data: Path) -> None:
    """Every column and row of them, in the bucket of its trace; what is still open stays here."""
    done = push_days(data, store, today=TODAY)

    assert done["days"] == ["2026-03-01", "2026-03-02"]
    assert done["rows"] == {"spans": 2}
    spans = rows(store, data, "spans")
    assert sorted(spans["span_id"]) == [f"{number:016x}" for number in (1, 2)]
    assert spans.columns == [column.name for column in SPANS]
    pointer = read_pointer(store, pointer_key(FIRST, receiver_name(data)))
    assert {said["bucket"] for said in pointer.files.values()} == {bucket_of(spans["trace_id"][0])}
    assert push_days(data, store, today=TODAY)["days"] == []


def test_a_writer_killed_anywhere_leaves_whole_days(store: Store, data: Path) -> None:
    """Every pointer names files that are there, and the next one ends with every row once."""
    for _ in killed_everywhere(store, lambda dying: push_days(data, dying, today=TODAY)):
        for key in [key for key, _ in store.names("days") if key.endswith(".json")]:
            assert [*faults(store, dict(store.names("days")), key, deep=True)] == []

    assert sorted(rows(store, data, "spans")["span_id"]) == [f"{number:016x}" for number in (1, 2)]


def test_a_day_that_changed_is_written_anew(store: Store, data: Path) -> None:
    """As after something was forgotten: the rows that are gone here are gone there, files and all."""
    push_days(data, store, today=TODAY)
    trace = rows(store, data, "spans")["trace_id"][0]
    forget(data, {("default", trace)}, ())
    assert push_days(data, store, today=TODAY)["days"] == ["2026-03-01", "2026-03-02"]

    assert rows(store, data, "spans").is_empty()
    assert [key for key, _ in store.names("days") if key.endswith(".parquet")] == []


HOLD = "import duckdb, sys; held = duckdb.connect(sys.argv[1]); print(flush=True); input()"


def test_a_day_that_a_receiver_has_open_waits(store: Store, data: Path) -> None:
    """It goes when it is sealed, and so do those after it: days go in order. A dry run writes nothing at all."""
    command = [sys.executable, "-c", HOLD, str(day_path(data, FIRST))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as receiver:
        assert receiver.stdout is not None
        receiver.stdout.readline()
        planned = push_days(data, store, today=TODAY, dry_run=True)
        assert [*store.names("days")] == []
        done = push_days(data, store, today=TODAY)
        receiver.communicate(b"\n")

    assert planned == {"days": ["2026-03-01", "2026-03-02"], "rows": {}}
    assert done["days"] == []
