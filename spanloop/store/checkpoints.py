"""Checkpoints and reports in a store. A checkpoint never changes: its pointer is written once, when all of it is there.

checkpoints/<name>.json       the pointer
checkpoints/<name>/<file>
reports/<file>                run reports of the ETL and the nights, as they are in DATA
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

from foundation.errors import SpanloopError
from foundation.files import make_directory, sync_directory
from foundation.narration import get_logger
from foundation.store.pointer import Pointer, describe, fetch, read_pointer, write_pointer
from foundation.store.store import Store, Superseded, key_of
from train.schema import CREDIT_FILE, MANIFEST

log = get_logger("store")

REPORTS = ("dataset/runs/*.json", "nights/*.json")


def pointer_key(name: str) -> str:
    """Return the key of the pointer of a checkpoint."""
    return f"{key_of('checkpoints', name)}.json"


def push_checkpoints(data: Path, store: Store, *, dry_run: bool = False) -> list[str]:
    """Write the checkpoints that a store has not yet, and return their names.

    What each call was learned from (credit.parquet) stays: it names people's traces, and is no part of a model.
    """
    pushed = []
    for manifest in sorted((data / "checkpoints").glob(f"*/{MANIFEST}")):
        directory = manifest.parent
        if directory.name.startswith(".") or read_pointer(store, pointer_key(directory.name)).tag is not None:
            continue
        pushed.append(directory.name)
        if not dry_run:
            _push(store, directory)
    return pushed


def _push(store: Store, directory: Path) -> None:
    pointer = Pointer()
    for path in _files(directory):
        key = key_of("checkpoints", directory.name, *path.relative_to(directory).parts)
        pointer.files[key] = {**describe(path), "name": path.relative_to(directory).as_posix()}
        store.upload(key, path)
    try:
        write_pointer(store, pointer_key(directory.name), pointer)
    except Superseded:  # another machine was quicker; of one name it must be the same
        if read_pointer(store, pointer_key(directory.name)).files != pointer.files:
            raise SpanloopError(
                f"{store.url} holds another checkpoint named {directory.name}", hint="Rename the directory of this one."
            ) from None
    log.info("stored", store=store.url, checkpoint=directory.name, files=len(pointer.files))


def _files(directory: Path) -> Iterator[Path]:
    for path in sorted(directory.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(directory).parts)
        if path.is_file() and not hidden and path.name != CREDIT_FILE:
            yield path


def pull_checkpoint(data: Path, store: Store, name: str) -> Path:
    """Bring a checkpoint to DATA/checkpoints, whole or not at all, and return its directory."""
    pointer = read_pointer(store, pointer_key(name))
    if pointer.tag is None:
        raise SpanloopError(f"{store.url} has no checkpoint {name}", hint="`spanloop store list` names them.")
    directory = data / "checkpoints" / name
    if (directory / MANIFEST).exists():
        return directory
    partial = directory.with_name(f".pulling-{name}")
    make_directory(partial)
    for key, said in pointer.files.items():
        target = partial / said["name"]
        if not target.resolve().is_relative_to(partial.resolve()):
            raise SpanloopError(f"{store.url}: checkpoint {name} names a file outside of it: {said['name'][:200]!r}")
        if not (target.exists() and describe(target)["sha256"] == said["sha256"]):
            fetch(store, key, said, target)
    shutil.rmtree(directory, ignore_errors=True)  # a directory without a manifest is no checkpoint
    partial.replace(directory)
    sync_directory(directory.parent)
    return directory


def push_reports(data: Path, store: Store, *, dry_run: bool = False) -> int:
    """Write the reports that a store has not yet; return how many."""
    known = dict(store.names("reports"))
    pushed = 0
    for pattern in REPORTS:
        for path in sorted(data.glob(pattern)):
            key = key_of("reports", *path.relative_to(data).parts)
            if known.get(key) != path.stat().st_size:
                pushed += 1
                if not dry_run:
                    store.upload(key, path)
    return pushed
