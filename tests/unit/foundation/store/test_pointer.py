"""A pointer names what counts; a holder of an earlier lease cannot change it."""

from pathlib import Path

import pytest

from foundation.store.pointer import (
    Damaged,
    Pointer,
    claim,
    clear,
    describe,
    faults,
    fetch,
    read_pointer,
    write_over,
    write_pointer,
)
from foundation.store.store import Store, Superseded
from tests.stores import KINDS, killed_everywhere, new_store


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return new_store(request.param, tmp_path)


def put_file(store: Store, tmp_path: Path, key: str, content: bytes) -> dict[str, object]:
    (tmp_path / "file").write_bytes(content)
    store.upload(key, tmp_path / "file")
    return describe(tmp_path / "file")


def test_who_held_the_lease_before_cannot_write_any_more(store: Store) -> None:
    """It read the pointer, was stopped, and comes back when another has begun: nothing of it shows."""
    before = claim(store, "dataset.json", 1)
    after = claim(store, "dataset.json", 2)
    before.facts["rows"] = "stale"
    with pytest.raises(Superseded):
        write_pointer(store, "dataset.json", before)

    after.facts["rows"] = "new"
    write_pointer(store, "dataset.json", after)

    assert read_pointer(store, "dataset.json").facts == {"rows": "new"}
    with pytest.raises(Superseded):
        claim(store, "dataset.json", 1)


def test_a_file_comes_as_it_was_said_or_not_at_all(store: Store, tmp_path: Path) -> None:
    """Changed in the store, it is refused and nothing is left."""
    said = put_file(store, tmp_path, "files/a", b"content")
    fetch(store, "files/a", said, tmp_path / "got" / "a")
    assert (tmp_path / "got" / "a").read_bytes() == b"content"

    store.put("files/a", b"c0ntent")
    with pytest.raises(Damaged):
        fetch(store, "files/a", said, tmp_path / "got" / "b")
    store.remove("files/a")
    with pytest.raises(Damaged):
        fetch(store, "files/a", said, tmp_path / "got" / "b")
    assert [path.name for path in (tmp_path / "got").iterdir()] == ["a"]


def test_faults_are_named(store: Store, tmp_path: Path) -> None:
    """Gone, of another size, and, looked into, of another content."""
    pointer = Pointer({key: put_file(store, tmp_path, key, b"content") for key in ("f/a", "f/b", "f/c", "f/d")})
    write_pointer(store, "pointer.json", pointer)
    store.remove("f/a")
    store.put("f/b", b"longer content")
    store.put("f/c", b"c0ntent")

    shallow = [*faults(store, dict(store.names("f")), "pointer.json", deep=False)]
    deep = [*faults(store, dict(store.names("f")), "pointer.json", deep=True)]

    assert [line.split()[0] for line in shallow] == ["f/a", "f/b"]
    assert [line.split()[0] for line in deep] == ["f/a", "f/b", "f/c"]


@pytest.mark.parametrize("content", [b"", b"[]", b'{"layout": 9, "files": {}, "fence": 0}', b'{"layout": 1}'])
def test_a_pointer_that_cannot_be_read_is_refused(store: Store, content: bytes) -> None:
    """Damaged, or of a newer release."""
    store.put("pointer.json", content)

    with pytest.raises(Damaged):
        read_pointer(store, "pointer.json")


def test_what_a_pointer_stopped_naming_goes_in_the_end(store: Store, tmp_path: Path) -> None:
    """Whoever was to remove it was killed: the pointer says what is to go, and never has a file that it names go."""
    for key in ("files/old", "files/kept"):
        store.put(key, b"content")
    write_pointer(store, "pointer.json", Pointer({"files/old": {}, "files/kept": {}}))

    def work(dying: Store) -> None:
        pointer = read_pointer(dying, "pointer.json")
        clear(dying, pointer)
        if "files/old" in pointer.files:
            write_over(dying, "pointer.json", Pointer({"files/kept": {}}, tag=pointer.tag), pointer.files)

    for _ in killed_everywhere(store, work):
        assert {*read_pointer(store, "pointer.json").files} <= {key for key, _ in store.names("files")}

    assert [key for key, _ in store.names("files")] == ["files/kept"]
