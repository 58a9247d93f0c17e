"""What a store holds, by its pointers; what is wrong with it; and what no pointer names any more."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from etl.schema import STORED
from foundation.store.pointer import faults, read_pointer
from foundation.store.store import Store

POINTED_TO = ("checkpoints", "dataset", "days")
"""Folders whose files count as long as a pointer names them."""


@dataclass(frozen=True, slots=True)
class Holding:
    """A pointer and what it names."""

    key: str
    num_files: int
    num_bytes: int
    facts: dict[str, Any]

    @property
    def what(self) -> str:
        """Return `dataset`, `days` or `checkpoints`."""
        return self.key.removesuffix(".json").partition("/")[0]


def pointers(store: Store) -> list[str]:
    """Return the keys of all pointers of files."""
    found = [key for folder in ("checkpoints", "days") for key, _ in store.names(folder) if is_pointer(key)]
    return [*found, *([STORED] if store.get(STORED) is not None else [])]


def is_pointer(key: str) -> bool:
    """Tell whether a key is that of a pointer of files.

    >>> is_pointer("days/2026-11-30/r1.json"), is_pointer("checkpoints/night-1/config.json")
    (True, False)
    """
    depth = {"days": 3, "checkpoints": 2}.get(key.partition("/")[0])
    return key == STORED or (key.endswith(".json") and key.count("/") + 1 == depth)


def holdings(store: Store) -> Iterator[Holding]:
    """Yield what is there, in order of the keys."""
    for key in pointers(store):
        pointer = read_pointer(store, key)
        size = sum(said["size"] for said in pointer.files.values())
        yield Holding(key, len(pointer.files), size, pointer.facts)


def verify(store: Store, *, deep: bool) -> list[str]:
    """Return what is wrong: files that a pointer names and that are gone, or are not what it says."""
    sizes = dict(_files(store))
    return [fault for key in pointers(store) for fault in faults(store, sizes, key, deep=deep)]


def leftovers(store: Store) -> list[str]:
    """Return the files that no pointer names: of writers that were killed, or of one that writes now."""
    there = [key for key, _ in _files(store) if not is_pointer(key)]
    named = {key for pointer in pointers(store) for key in read_pointer(store, pointer).files}
    return [key for key in there if key not in named]


def _files(store: Store) -> Iterator[tuple[str, int]]:
    for folder in POINTED_TO:
        yield from store.names(folder)
