"""A directory travels whole or not at all, and one of its name is there once."""

from pathlib import Path

import pytest

from foundation.errors import SpanloopError
from foundation.store.directory import pointer_key, pull_directory, push_directory
from foundation.store.pointer import faults, read_pointer, write_pointer
from foundation.store.store import Store
from tests.stores import KINDS, killed_everywhere, new_store


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return new_store(request.param, tmp_path)


def make(directory: Path, **files: str) -> Path:
    for name, text in {"a.txt": "a", "below/.hidden": "h", "below/b.txt": "b", **files}.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)
    return directory


def test_it_arrives_as_it_was_but_for_what_stays(store: Store, tmp_path: Path) -> None:
    """Hidden files stay, and those that are named; a second push and what was in its place change nothing."""
    here = make(tmp_path / "here", private="p")
    there = make(tmp_path / "there", old="o")

    pushed = [push_directory(store, "models", "x y", directory=here, without={"private"}) for _ in range(2)]
    pulled = pull_directory(store, "models", "x y", directory=there)

    assert (pushed, pulled) == ([True, False], True)
    assert sorted(str(path.relative_to(there)) for path in there.rglob("*.*")) == ["a.txt", "below/b.txt"]
    assert not pull_directory(store, "models", "z", directory=tmp_path / "z")
    assert not (tmp_path / "z").exists()


def test_a_writer_killed_anywhere_leaves_none_or_all_of_it(store: Store, tmp_path: Path) -> None:
    """The pointer comes last."""
    here = make(tmp_path / "here")
    for _ in killed_everywhere(store, lambda dying: push_directory(dying, "models", "x", directory=here)):
        assert [*faults(store, dict(store.names("models")), pointer_key("models", "x"), deep=True)] == []
    assert len(read_pointer(store, pointer_key("models", "x")).files) == 2


def test_a_name_that_leads_out_of_its_place_is_refused(store: Store, tmp_path: Path) -> None:
    """Whoever writes to a store does not write where they like on the machines that read it."""
    push_directory(store, "models", "x", directory=make(tmp_path / "here"))
    pointer = read_pointer(store, pointer_key("models", "x"))
    pointer.files["models/x/a.txt"]["name"] = "../out.txt"
    write_pointer(store, pointer_key("models", "x"), pointer)

    with pytest.raises(SpanloopError, match="outside of its directory"):
        pull_directory(store, "models", "x", directory=tmp_path / "there")
    assert not (tmp_path / "out.txt").exists()
