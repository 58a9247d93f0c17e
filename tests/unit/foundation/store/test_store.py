"""What holds in every store: pointers change by condition alone, and of several writers one wins."""

import threading
from pathlib import Path

import pytest

from foundation.errors import SettingsError
from foundation.store.store import Store, Superseded
from tests.stores import KINDS, new_store


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return new_store(request.param, tmp_path)


def test_objects_are_found_listed_and_removed(store: Store, tmp_path: Path) -> None:
    """By key, in order; what is not there is None, and removing it is no error."""
    store.put("a/two", b"22")
    store.put("a/one", b"1")
    store.put("b/three", b"333")

    assert [*store.names("a")] == [("a/one", 1), ("a/two", 2)]
    assert (found := store.get("a/two")) is not None
    assert found.content == b"22"
    store.remove("a/two")
    store.remove("a/two")
    assert store.get("a/two") is None
    assert store.get("a") is None
    assert [key for key, _ in store.names("")] == ["a/one", "b/three"]


def test_a_file_travels_whole(store: Store, tmp_path: Path) -> None:
    """Larger than one part of an upload."""
    (tmp_path / "here").write_bytes(content := b"0123456789abcdef" * (1 << 20) + b"end")

    store.upload("large", tmp_path / "here")
    store.download("large", tmp_path / "there")

    assert (tmp_path / "there").read_bytes() == content
    with pytest.raises(FileNotFoundError):
        store.download("missing", tmp_path / "nowhere")


def test_a_pointer_is_made_once(store: Store) -> None:
    """A second writer is refused, unless it says the same, as one does whose answer was lost."""
    tag = store.create("pointer", b"mine")

    with pytest.raises(Superseded):
        store.create("pointer", b"yours")
    assert store.create("pointer", b"mine") == tag


def test_a_pointer_is_replaced_by_who_knows_it(store: Store) -> None:
    """Of two that read the same version one wins; nobody replaces what is gone."""
    first = store.create("pointer", b"1")
    second = store.replace("pointer", b"2", first)

    with pytest.raises(Superseded):
        store.replace("pointer", b"other", first)
    store.replace("pointer", b"3", second)
    store.remove("pointer")
    with pytest.raises(Superseded):
        store.replace("pointer", b"4", second)
    assert store.get("pointer") is None


def test_of_many_writers_at_once_one_wins(store: Store) -> None:
    """Sixteen create, then sixteen replace what they all read."""

    def race(write: object) -> int:
        won: list[int] = []
        start = threading.Barrier(16)

        def run(number: int) -> None:
            start.wait()
            try:
                write(number)  # type: ignore[operator]
                won.append(number)
            except Superseded:
                return

        threads = [threading.Thread(target=run, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return len(won)

    assert race(lambda number: store.create("pointer", b"%d" % number)) == 1
    assert (there := store.get("pointer")) is not None
    assert race(lambda number: store.replace("pointer", b"next %d" % number, there.tag)) == 1


@pytest.mark.parametrize("key", ["", "../up", "a/../b", "/absolute", "a//b", ".hidden", "a/.b", "with space", "a\n"])
def test_no_key_leads_elsewhere(store: Store, key: str) -> None:
    """Names of objects come out of other people's projects."""
    with pytest.raises(SettingsError):
        store.put(key, b"")
