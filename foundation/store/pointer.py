"""A pointer: a JSON object that names the files that count, with their sizes and digests, and who may change it.

    {"layout": 1, "fence": 7, "files": {"dataset/transitions/part-….parquet": {"size": 1, "sha256": "…"}}, …}

Files are written before the pointer names them and removed after it stopped, so that whatever dies when, everything a
pointer names is there.
"""

import hashlib
import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from foundation.errors import SpanloopError
from foundation.store.store import Store, Superseded

LAYOUT = 1


class Damaged(SpanloopError):
    """An object in a store is not what the pointer that names it says."""


@dataclass(slots=True)
class Pointer:
    """What a pointer says, and the tag of the version that said it."""

    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    fence: int = 0
    tag: str | None = None
    """None where there is none in the store yet."""


def read_pointer(store: Store, key: str) -> Pointer:
    """Return what a pointer says; an empty one where there is none. Raises `Damaged`, also for a newer release's."""
    found = store.get(key)
    if found is None:
        return Pointer()
    try:
        said = json.loads(found.content)
        layout = said.pop("layout")
        if layout > LAYOUT:
            raise Damaged(
                f"{store.url}/{key} has layout {layout}, this release reads {LAYOUT}", hint="Use a newer one."
            )
        return Pointer(dict(said.pop("files")), said, int(said.pop("fence")), found.tag)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Damaged(f"{store.url}/{key} is damaged: {type(error).__name__}") from error


def write_pointer(store: Store, key: str, pointer: Pointer) -> None:
    """Write a pointer in the place of the version it was read from. Raises `Superseded` where there is another."""
    said = {"layout": LAYOUT, "fence": pointer.fence, **pointer.facts, "files": dict(sorted(pointer.files.items()))}
    content = (json.dumps(said, indent=1) + "\n").encode()
    pointer.tag = store.create(key, content) if pointer.tag is None else store.replace(key, content, pointer.tag)


def write_over(store: Store, key: str, pointer: Pointer, before: Collection[str]) -> None:
    """Write a pointer in the place of one that named other files, and remove those it names no more.

    Killed in between, the pointer still says which they are: `clear` removes them.
    """
    pointer.facts["leaving"] = sorted({*before} - {*pointer.files})
    write_pointer(store, key, pointer)
    clear(store, pointer)


def clear(store: Store, pointer: Pointer) -> None:
    """Remove the files that a pointer stopped naming: whoever was to may have been killed before."""
    for key in pointer.facts.get("leaving", ()):
        if key not in pointer.files:
            store.remove(key)


def claim(store: Store, key: str, token: int) -> Pointer:
    """Write a lease's token into a pointer and return it: no holder of an earlier lease can change it any more."""
    while True:
        pointer = read_pointer(store, key)
        if pointer.fence > token:
            raise Superseded(f"{store.url}/{key} has been taken over by a later holder")
        pointer.fence = token
        try:
            write_pointer(store, key, pointer)
        except Superseded:
            continue  # one more write of the holder before, which was in time
        return pointer


def describe(path: Path) -> dict[str, Any]:
    """Return size and digest of a file, as a pointer says them."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return {"size": path.stat().st_size, "sha256": digest.hexdigest()}


def fetch(store: Store, key: str, said: dict[str, Any], path: Path) -> None:
    """Write a file that a pointer names to its place, whole and as it was said, or not at all."""
    partial = path.with_name(f".{path.name}.{said['sha256'][:8]}.part")
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial.unlink(missing_ok=True)
    try:
        store.download(key, partial)
        if describe(partial)["sha256"] != said["sha256"]:
            raise Damaged(f"{store.url}/{key} is not what its pointer says", hint="`spanloop store verify` names all.")
        partial.chmod(0o600)
        partial.replace(path)
    except FileNotFoundError as error:
        raise Damaged(f"{store.url}/{key} is gone, and a pointer names it") from error
    finally:
        partial.unlink(missing_ok=True)


def faults(store: Store, keys: dict[str, int], pointer_key: str, *, deep: bool) -> Iterator[str]:
    """Yield what is wrong with the files of a pointer, given the keys there are and their sizes."""
    for key, said in read_pointer(store, pointer_key).files.items():
        if key not in keys:
            yield f"{key} is gone; {pointer_key} names it"
        elif keys[key] != said["size"]:
            yield f"{key} has {keys[key]} bytes; {pointer_key} says {said['size']}"
        elif deep:
            found = store.get(key)
            if found is None or hashlib.sha256(found.content).hexdigest() != said["sha256"]:
                yield f"{key} has another content than {pointer_key} says"
