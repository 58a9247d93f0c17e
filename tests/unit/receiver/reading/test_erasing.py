"""What is forgotten is in no file of a store, whoever was killed when; everything else stays."""

from datetime import timedelta
from pathlib import Path

import pytest

from foundation.store.pointer import faults, read_pointer
from foundation.store.store import Store
from receiver.reading.archive import pointer_key, push_days, receiver_name
from receiver.reading.erasing import erase
from receiver.reading.stored import StoredReader
from tests.stores import KINDS, killed_everywhere, new_store
from tests.unit.receiver.days.three_days import FIRST, three_days

TODAY = FIRST + timedelta(days=4)
"""All three days are over."""

FORGOTTEN = ("default", "00000000000000000000000000000001")


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """Three days of a receiver that is gone, a trace each, and a log record in none."""
    landing = three_days(tmp_path / "data", one_each=True)
    landing.store.seal(TODAY)
    landing.store.close()
    store = new_store(request.param, tmp_path)
    push_days(tmp_path / "data", store, today=TODAY)
    return store


def rows(store: Store, tmp_path: Path, sql: str) -> list[object]:
    reader = StoredReader(tmp_path / "reader", [store])
    found = reader.query(sql).column(0).to_pylist()
    reader.close()
    return found


def contents(store: Store) -> dict[str, object]:
    return {key: store.get(key) for key, _ in store.names("days")}


def test_a_killed_eraser_leaves_whole_days_and_the_next_ends_it(store: Store, tmp_path: Path) -> None:
    """Not even a file that nothing names has the trace in the end."""
    for _ in killed_everywhere(store, lambda dying: erase(tmp_path / "here", dying, {FORGOTTEN}, ())):
        for key in [key for key, _ in store.names("days") if key.endswith(".json")]:
            assert [*faults(store, dict(store.names("days")), key, deep=True)] == []

    assert rows(store, tmp_path, "select span_id from spans order by 1") == [f"{number:016x}" for number in (2, 3)]
    day = read_pointer(store, pointer_key(FIRST, receiver_name(tmp_path / "data")))
    assert day.files == {}
    assert not [key for key, _ in store.names(f"days/{FIRST}") if key.endswith(".parquet")]


def test_a_file_keeps_the_rows_of_others(store: Store, tmp_path: Path) -> None:
    """Counted first, in a dry run; a day without the trace is not touched."""
    before = contents(store)

    assert erase(tmp_path / "here", store, {FORGOTTEN}, (), dry_run=True) == {"spans": 1}
    assert contents(store) == before
    assert erase(tmp_path / "here", store, {FORGOTTEN}, ()) == {"spans": 1}
    assert erase(tmp_path / "here", store, {FORGOTTEN}, ()) == {}
    after = contents(store)
    assert {key for key in before if before[key] != after.get(key)} <= {key for key in before if f"/{FIRST}" in key}
    assert rows(store, tmp_path, "select count(*) from log_records") == [1]


def test_its_receiver_s_next_push_brings_nothing_back(store: Store, tmp_path: Path) -> None:
    """A day that has not changed there is not written again."""
    erase(tmp_path / "here", store, {FORGOTTEN}, ())

    assert push_days(tmp_path / "data", store, today=TODAY)["days"] == []
    assert len(rows(store, tmp_path, "select span_id from spans")) == 2
