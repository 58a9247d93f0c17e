"""Checkpoints come whole or not at all, and never change."""

from pathlib import Path

import pytest

from foundation.errors import SpanloopError
from foundation.store.pointer import Damaged
from foundation.store.store import Store
from spanloop.store.checkpoints import pull_checkpoint, push_checkpoints, push_reports
from spanloop.store.holdings import holdings, leftovers, verify
from tests.stores import KINDS, killed_everywhere, new_store


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return new_store(request.param, tmp_path)


def make(data: Path, name: str = "night 1", weights: bytes = b"weights") -> Path:
    directory = data / "checkpoints" / name
    (directory / "tokenizer").mkdir(parents=True)
    for file, content in (("model.safetensors", weights), ("tokenizer/vocab.txt", b"a b"), ("credit.parquet", b"?")):
        (directory / file).write_bytes(content)
    (directory / "manifest.json").write_bytes(b"{}")
    return directory


def test_a_checkpoint_travels_without_the_calls_it_learned_from(store: Store, tmp_path: Path) -> None:
    """Every other file, below its own name; one that is there already stays as it is."""
    make(tmp_path / "a")
    (tmp_path / "a" / "checkpoints" / ".partial-x").mkdir()

    assert push_checkpoints(tmp_path / "a", store) == ["night 1"]
    assert push_checkpoints(tmp_path / "a", store) == []
    directory = pull_checkpoint(tmp_path / "b", store, "night 1")

    found = {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }
    assert found == {"model.safetensors": b"weights", "tokenizer/vocab.txt": b"a b", "manifest.json": b"{}"}
    assert pull_checkpoint(tmp_path / "b", store, "night 1") == directory
    with pytest.raises(SpanloopError, match="no checkpoint"):
        pull_checkpoint(tmp_path / "b", store, "night 2")


def test_a_writer_killed_anywhere_leaves_no_half_checkpoint(store: Store, tmp_path: Path) -> None:
    """It is there with all its files, or not there."""
    make(tmp_path / "a")
    for _ in killed_everywhere(store, lambda dying: push_checkpoints(tmp_path / "a", dying)):
        assert verify(store, deep=True) == []

    assert [(one.what, one.num_files) for one in holdings(store)] == [("checkpoints", 3)]
    assert leftovers(store) == []


def test_another_checkpoint_of_the_same_name_is_refused(store: Store, tmp_path: Path) -> None:
    """Two machines that train under one name: the second is told, and the first one's stays."""
    make(tmp_path / "a")
    make(tmp_path / "b", weights=b"other weights")
    real, raced = store.create, []

    class Raced:
        def __getattr__(self, name: str) -> object:
            return getattr(store, name)

        def create(self, key: str, content: bytes) -> str:
            raced.append(push_checkpoints(tmp_path / "a", store))
            return real(key, content)

    with pytest.raises(SpanloopError, match="other files of checkpoints night 1"):
        push_checkpoints(tmp_path / "b", Raced())  # type: ignore[arg-type]

    assert raced == [["night 1"]]


def test_what_was_damaged_is_named_and_does_not_arrive(store: Store, tmp_path: Path) -> None:
    """A file changed in the store, one gone, and one that nobody names."""
    make(tmp_path / "a")
    push_checkpoints(tmp_path / "a", store)
    store.put("checkpoints/night%201/model.safetensors", b"w3ights")
    store.put("checkpoints/night%202/model.safetensors", b"left")

    assert verify(store, deep=False) == []
    assert [fault.split()[0] for fault in verify(store, deep=True)] == ["checkpoints/night%201/model.safetensors"]
    assert leftovers(store) == ["checkpoints/night%202/model.safetensors"]
    with pytest.raises(Damaged):
        pull_checkpoint(tmp_path / "b", store, "night 1")
    assert not (tmp_path / "b" / "checkpoints" / "night 1").exists()


def test_reports_are_written_once(store: Store, tmp_path: Path) -> None:
    """Those of the ETL and of nights."""
    for name in ("dataset/runs/a.json", "nights/b.json", "nights/c.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")

    assert push_reports(tmp_path, store, dry_run=True) == 2
    assert push_reports(tmp_path, store) == 2
    assert push_reports(tmp_path, store) == 0
