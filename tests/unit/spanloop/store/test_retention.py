"""Old days leave a store whole, whoever was killed when; days that are to stay are not touched."""

from datetime import date
from pathlib import Path

import pytest

from foundation.errors import SpanloopError
from foundation.store.pointer import Pointer, describe, write_pointer
from foundation.store.store import Store
from spanloop.store.holdings import verify
from spanloop.store.retention import expired
from tests.stores import KINDS, killed_everywhere, new_store

TODAY = date(2026, 3, 10)


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """Three days of two receivers."""
    store = new_store(request.param, tmp_path)
    (tmp_path / "file").write_bytes(b"content")
    for day in ("2026-03-01", "2026-03-07", "2026-03-08"):
        for receiver in ("r1", "r2"):
            key = f"days/{day}/{receiver}/spans/shop/0-1.parquet"
            store.upload(key, tmp_path / "file")
            pointer = Pointer({key: describe(tmp_path / "file")}, {"day": day, "receiver": receiver})
            write_pointer(store, f"days/{day}/{receiver}.json", pointer)
    return store


def test_what_is_to_stay_stays(store: Store) -> None:
    """The last day that is kept is as many days ago as were named."""
    found = expired(store, today=TODAY, retain_days=3)

    assert [*found] == ["2026-03-01"]
    assert found["2026-03-01"][:2] == ["days/2026-03-01/r1.json", "days/2026-03-01/r2.json"]
    assert len(found["2026-03-01"]) == 4
    assert [*expired(store, today=TODAY, retain_days=2)] == ["2026-03-01", "2026-03-07"]


def test_a_killed_removal_is_ended_by_the_next(store: Store) -> None:
    """No pointer ever names a file that is gone, and no file is left that nothing names."""

    def work(dying: Store) -> None:
        for keys in expired(dying, today=TODAY, retain_days=3).values():
            for key in keys:
                dying.remove(key)

    for _ in killed_everywhere(store, work):
        assert verify(store, deep=True) == []

    assert {key.split("/")[1] for key, _ in store.names("days")} == {"2026-03-07", "2026-03-08"}


def test_what_is_below_no_day_is_named(store: Store) -> None:
    """Nothing is removed where it is not clear what it is."""
    store.put("days/yesterday/r1.json", b"{}")

    with pytest.raises(SpanloopError, match="is below no day"):
        expired(store, today=TODAY, retain_days=3)
