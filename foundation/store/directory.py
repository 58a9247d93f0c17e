"""A directory in a store, whole or not at all. It never changes: its pointer is written once, when all of it is there.

<key>.json       the pointer, which says the path of every file in the directory
<key>/<file>
"""

import shutil
from collections.abc import Collection, Iterator
from pathlib import Path

from foundation.errors import SpanloopError
from foundation.files import make_directory, sync_directory
from foundation.narration import get_logger
from foundation.store.pointer import Pointer, describe, fetch, read_pointer, write_pointer
from foundation.store.store import Store, Superseded, key_of

log = get_logger("store")


def pointer_key(*parts: str) -> str:
    """Return the key of the pointer of a directory, named by parts that others chose."""
    return f"{key_of(*parts)}.json"


def push_directory(store: Store, *parts: str, directory: Path, without: Collection[str] = ()) -> bool:
    """Write a directory that is not in a store yet, and tell whether it was not; hidden files stay, and those named.

    Raises `SpanloopError` where another machine writes another of this name meanwhile.
    """
    key = pointer_key(*parts)
    if read_pointer(store, key).tag is not None:
        return False
    pointer = Pointer()
    for path in _files(directory, without):
        name = path.relative_to(directory)
        file = key_of(*parts, *name.parts)
        pointer.files[file] = {**describe(path), "name": name.as_posix()}
        store.upload(file, path)
    try:
        write_pointer(store, key, pointer)
    except Superseded:  # another machine was quicker; of one name it must be the same
        if read_pointer(store, key).files != pointer.files:
            raise SpanloopError(
                f"{store.url} holds other files of {' '.join(parts)}", hint="Give one of them another name."
            ) from None
    log.info("stored", store=store.url, **{parts[0]: parts[-1]}, files=len(pointer.files))
    return True


def pull_directory(store: Store, *parts: str, directory: Path) -> bool:
    """Write a directory of a store to its place, in that of what is there; tell whether the store has it.

    Broken off, it leaves what it has beside its place, and goes on from there.
    """
    pointer = read_pointer(store, pointer_key(*parts))
    if pointer.tag is None:
        return False
    partial = directory.with_name(f".pulling-{directory.name}")
    make_directory(partial)
    for key, said in pointer.files.items():
        target = partial / said["name"]
        if not target.resolve().is_relative_to(partial.resolve()):
            raise SpanloopError(f"{store.url}/{key} would be a file outside of its directory: {said['name'][:200]!r}")
        if not (target.exists() and describe(target)["sha256"] == said["sha256"]):
            fetch(store, key, said, target)
    shutil.rmtree(directory, ignore_errors=True)
    partial.replace(directory)
    sync_directory(directory.parent)
    return True


def _files(directory: Path, without: Collection[str]) -> Iterator[Path]:
    for path in sorted(directory.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(directory).parts)
        if path.is_file() and not hidden and path.name not in without:
            yield path
