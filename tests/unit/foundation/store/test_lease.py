"""One holder at a time, and a token that grows."""

from pathlib import Path

import pytest

from foundation.errors import Busy, SpanloopError
from foundation.store.lease import held
from foundation.store.store import Store, Superseded
from tests.stores import KINDS, new_store


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return new_store(request.param, tmp_path)


def test_a_second_holder_waits_and_is_told_for_whom(store: Store) -> None:
    """Until the first one lets go; then it may begin at once."""
    with held(store, "etl", purpose="spanloop etl run") as first, pytest.raises(Busy, match="spanloop etl run on"):
        held(store, "etl", purpose="another").__enter__()

    with held(store, "etl", purpose="another") as second:
        assert second.token == first.token + 1


def test_a_holder_that_says_nothing_any_more_is_replaced(store: Store) -> None:
    """After its time; and when it wakes up it learns that nothing of it counts."""
    clock = 1000.0
    with held(store, "etl", purpose="sleeper", ttl_s=60, now=lambda: clock) as sleeper:
        clock += 61
        with held(store, "etl", purpose="another", now=lambda: clock) as other:
            with pytest.raises(Superseded):
                sleeper.renew()
            with pytest.raises(SpanloopError, match="has taken over"):
                sleeper.check()
            assert other.token == sleeper.token + 1
            other.check()


def test_a_holder_that_renews_keeps_it(store: Store) -> None:
    """However long it takes."""
    clock = 1000.0
    with held(store, "etl", purpose="long", ttl_s=60, now=lambda: clock) as lease:
        for _ in range(3):
            clock += 50
            lease.renew()
        with pytest.raises(Busy):
            held(store, "etl", purpose="another", now=lambda: clock).__enter__()


def test_a_damaged_lease_is_named(store: Store) -> None:
    """Nobody guesses whether somebody works."""
    store.put("leases/etl.json", b"{")

    with pytest.raises(SpanloopError, match="damaged"):
        held(store, "etl", purpose="a test").__enter__()
