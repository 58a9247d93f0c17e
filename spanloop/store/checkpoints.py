"""Checkpoints and reports in a store.

checkpoints/<name>.json, checkpoints/<name>/<file>     directories that never change
reports/<file>                                         run reports of the ETL and the nights, as they are in DATA
"""

from pathlib import Path

from foundation.errors import SpanloopError
from foundation.store.directory import pointer_key, pull_directory, push_directory
from foundation.store.pointer import read_pointer
from foundation.store.store import Store, key_of
from train.schema import CHECKPOINTS, CREDIT_FILE, MANIFEST

REPORTS = ("dataset/runs/*.json", "nights/*.json")


def push_checkpoints(data: Path, store: Store, *, dry_run: bool = False) -> list[str]:
    """Write the checkpoints that a store has not yet, and return their names.

    What each call was learned from (credit.parquet) stays: it names people's traces, and is no part of a model.
    """
    pushed = []
    for manifest in sorted((data / CHECKPOINTS).glob(f"*/{MANIFEST}")):
        directory = manifest.parent
        if directory.name.startswith("."):
            continue
        if dry_run:
            is_new = read_pointer(store, pointer_key(CHECKPOINTS, directory.name)).tag is None
        else:
            is_new = push_directory(store, CHECKPOINTS, directory.name, directory=directory, without={CREDIT_FILE})
        if is_new:
            pushed.append(directory.name)
    return pushed


def pull_checkpoint(data: Path, store: Store, name: str) -> Path:
    """Bring a checkpoint to DATA/checkpoints, whole or not at all, and return its directory."""
    directory = data / CHECKPOINTS / name
    is_here = (directory / MANIFEST).exists()
    if not is_here and not pull_directory(store, CHECKPOINTS, name, directory=directory):
        raise SpanloopError(f"{store.url} has no checkpoint {name}", hint="`spanloop store list` names them.")
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
