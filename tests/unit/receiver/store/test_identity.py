"""The filter of known spans: it forgets none, and seldom takes a new one for known."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from receiver.store.identity import IdentityFilter, hashes


def spans(first: int, count: int, project: str = "default") -> pa.Table:
    return pa.table(
        {
            "project": [project] * count,
            "trace_id": [f"{number // 8:032x}" for number in range(first, first + count)],
            "span_id": [f"{number:016x}" for number in range(first, first + count)],
        }
    )


def test_what_was_added_is_always_found_and_little_else(tmp_path: Path) -> None:
    """Over several layers, after a round trip through a file as before it."""
    known, mine, others = IdentityFilter(), hashes(spans(0, 900_000)), hashes(spans(900_000, 200_000))
    for start in range(0, 900_000, 90_000):
        known.add(mine[start : start + 90_000])
    known.save(tmp_path / "day.ids", num_rows=900_000, reached_seq=5)
    loaded = IdentityFilter.load(tmp_path / "day.ids")

    assert loaded is not None
    assert (loaded.num_rows, loaded.reached_seq) == (900_000, 5)
    for filter_ in (known, loaded.identities):
        assert filter_.contains(mine).all()
        assert filter_.contains(others).mean() < 1e-4


def test_projects_have_identities_of_their_own() -> None:
    """The same ids in another project are another span."""
    assert not np.isin(hashes(spans(0, 1000, "one")), hashes(spans(0, 1000, "two"))).any()


def test_slices_of_a_batch_hash_as_the_whole() -> None:
    """Offsets into shared buffers are respected."""
    table = spans(0, 100)
    whole = hashes(table)
    assert (hashes(table.to_batches()[0].slice(17, 40)) == whole[17:57]).all()
    assert len(hashes(table.slice(0, 0))) == 0


def test_a_cut_file_is_no_filter(tmp_path: Path) -> None:
    """It is then made anew from the rows."""
    known = IdentityFilter()
    known.add(hashes(spans(0, 10)))
    known.save(tmp_path / "x", num_rows=10, reached_seq=1)
    content = (tmp_path / "x").read_bytes()
    for broken in (content[:-1], b"", b"else" + content):
        (tmp_path / "x").write_bytes(broken)
        assert IdentityFilter.load(tmp_path / "x") is None
    assert IdentityFilter.load(tmp_path / "missing") is None


def damage_zeros(content: bytes) -> bytes:
    return content[:64] + bytes(len(content) - 64)


def damage_bit(content: bytes) -> bytes:
    return content[:5000] + bytes([content[5000] ^ 1]) + content[5001:]


@pytest.mark.parametrize(
    "damage",
    [damage_zeros, damage_bit, lambda content: content[:16], lambda _: b"", lambda content: b"spanids2" + content[8:]],
)
def test_a_damaged_file_is_no_filter(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    """Zeros in it would have spans stored twice; the caller builds the filter anew from the day's rows."""
    known = IdentityFilter()
    known.add(hashes(spans(0, 1000)))
    path = tmp_path / "day.ids"
    known.save(path, num_rows=1000, reached_seq=1)
    path.write_bytes(damage(path.read_bytes()))

    assert IdentityFilter.load(path) is None
