"""What is there by the pointers, and what no pointer names."""

from pathlib import Path

import pytest

from foundation.store.pointer import Pointer, describe, write_pointer
from foundation.store.store import Store
from spanloop.store.holdings import holdings, leftovers, verify
from tests.stores import KINDS, new_store


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return new_store(request.param, tmp_path)


def test_days_tables_and_checkpoints_are_told_apart(store: Store, tmp_path: Path) -> None:
    """A file of a checkpoint that ends as pointers do is none."""
    (tmp_path / "file").write_bytes(b"content")
    for pointer, key in (
        ("days/2026-03-01/r1.json", "days/2026-03-01/r1/spans/shop/0-1.parquet"),
        ("checkpoints/night.json", "checkpoints/night/config.json"),
        ("dataset.json", "dataset/episodes/part-1.parquet"),
    ):
        store.upload(key, tmp_path / "file")
        write_pointer(store, pointer, Pointer({key: describe(tmp_path / "file")}))
    store.put("days/2026-03-01/r1/spans/shop/0-2.parquet", b"of a writer that was killed")

    found = [(one.what, one.num_files, one.num_bytes) for one in holdings(store)]

    assert sorted(found) == [("checkpoints", 1, 7), ("dataset", 1, 7), ("days", 1, 7)]
    assert verify(store, deep=True) == []
    assert leftovers(store) == ["days/2026-03-01/r1/spans/shop/0-2.parquet"]
