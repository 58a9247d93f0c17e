"""One committer at a time; whatever is killed when, the store holds what one run published, and all of it."""

from pathlib import Path

import pytest

from etl.published.stored import committing, pull
from etl.schema import STORED, TABLES, read_watermark, table_files
from foundation.errors import Busy, SettingsError
from foundation.store.pointer import faults, read_pointer
from foundation.store.store import Store, Superseded
from tests.spans import llm
from tests.stores import KINDS, expire, killed_everywhere, new_store
from tests.unit.etl.published.dataset import put


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return new_store(request.param, tmp_path)


def publish_here(data: Path, number: int) -> None:
    """Publish one call in a window of its own."""
    put(data, number, llm(f"call-{number}", trace=f"trace-{number}"))


def files(data: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for table in TABLES for path in table_files(data, table)}


def commit(data: Path, store: Store) -> int:
    with committing(data, store, purpose="a test") as own:
        return own.publish()


def test_what_one_machine_publishes_another_goes_on_from(store: Store, tmp_path: Path) -> None:
    """And a third reads it: the same bytes, and the watermark with them."""
    one, other, reader = tmp_path / "one", tmp_path / "other", tmp_path / "reader"
    publish_here(one, 1)
    assert commit(one, store) > 0
    with committing(other, store, purpose="a test") as own:
        publish_here(other, 2)
        own.publish()

    assert pull(reader, store) > 0
    assert files(reader) == files(other)
    assert read_watermark(reader) == read_watermark(other)
    assert pull(reader, store) == 0
    with committing(one, store, purpose="a test"):
        assert files(one) == files(other), "it begins from what is published, not from what it knew"


def test_a_committer_killed_anywhere_leaves_a_whole_dataset(store: Store, tmp_path: Path) -> None:
    """What is read meanwhile is what was published before or what is now; the next attempt ends with all of it."""
    data = tmp_path / "data"
    publish_here(data, 1)
    commit(data, store)
    publish_here(data, 2)

    def work(dying: Store) -> None:
        with committing(data, dying, purpose="a test") as own:
            own.publish()

    for number in killed_everywhere(store, work):
        assert [*faults(store, dict(store.names("dataset")), STORED, deep=True)] == []
        expire(store, "dataset")
        reader = tmp_path / f"reader-{number}"
        pull(reader, store)
        assert read_watermark(reader)["received_seq"] in (1, 2)  # type: ignore[index]

    pull(tmp_path / "last", store)
    assert files(tmp_path / "last") == files(data)


def test_a_second_committer_is_told_to_wait(store: Store, tmp_path: Path) -> None:
    """Status 75, as for the lock of one machine."""
    with committing(tmp_path / "a", store, purpose="a test"), pytest.raises(Busy, match="a test on"):
        commit(tmp_path / "b", store)


def test_a_committer_that_was_taken_for_dead_publishes_nothing(store: Store, tmp_path: Path) -> None:
    """It was stopped, its time passed, another one took over; then it woke up."""
    publish_here(tmp_path / "a", 1)
    publish_here(tmp_path / "b", 2)
    with committing(tmp_path / "a", store, purpose="sleeper") as sleeper:
        expire(store, "dataset")
        commit(tmp_path / "b", store)

        with pytest.raises(Superseded):
            sleeper.publish()

    assert read_pointer(store, STORED).facts["watermark"] == read_watermark(tmp_path / "b")


def test_two_datasets_are_not_mixed(store: Store, tmp_path: Path) -> None:
    """A directory that was never this store's is left alone."""
    publish_here(tmp_path / "a", 1)
    commit(tmp_path / "a", store)
    publish_here(tmp_path / "b", 2)
    before = files(tmp_path / "b")

    with pytest.raises(SettingsError, match="another dataset"):
        commit(tmp_path / "b", store)

    assert files(tmp_path / "b") == before
