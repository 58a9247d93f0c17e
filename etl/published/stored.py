"""The published tables in a store, where one machine at a time may commit and any may read.

    dataset.json                          the pointer: the watermark, and every file it names with its digest
    dataset/<table>/part-….parquet

DATA/dataset is the committer's copy: before a run it is brought to what the store says, after it the store to what was
published here. `DATA/dataset/store.json` says which commit of which store the copy is.
"""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from etl.published.publish import load_watermark, sweep
from etl.schema import STORED, TABLES, check_layout, read_watermark, table_files, watermark_path
from foundation.errors import SettingsError
from foundation.files import write_json
from foundation.narration import get_logger
from foundation.store.lease import Lease, held
from foundation.store.pointer import Damaged, Pointer, claim, clear, describe, fetch, read_pointer, write_over
from foundation.store.store import Store

log = get_logger("etl")

LEASE = "dataset"


class Commit:
    """The right to publish to a store, for as long as its lease is held."""

    def __init__(self, data: Path, store: Store, lease: Lease, pointer: Pointer) -> None:
        self._data, self._store, self._lease, self._pointer = data, store, lease, pointer

    def publish(self) -> int:
        """Bring the store to what is published here; return how many files it took.

        Files first, then the pointer, by condition; what nothing names any more goes last.
        """
        pointer, watermark = self._pointer, read_watermark(self._data)
        if watermark is None or watermark == pointer.facts.get("watermark"):
            return 0
        named, sent = {}, 0
        for table in TABLES:
            for path in table_files(self._data, table):
                key = f"dataset/{table}/{path.name}"
                named[key] = pointer.files.get(key) or describe(path)
                if key not in pointer.files:
                    self._lease.check()
                    self._store.upload(key, path)
                    sent += 1
        self._lease.check()
        before = set(pointer.files)
        pointer.files = named
        pointer.facts = {"commit": pointer.facts.get("commit", 0) + 1, "watermark": watermark}
        write_over(self._store, STORED, pointer, before)
        _note(self._data, self._store, pointer)
        log.info("committed", store=self._store.url, commit=pointer.facts["commit"], files=sent)
        return sent


@contextlib.contextmanager
def committing(data: Path, store: Store, *, purpose: str) -> Iterator[Commit]:
    """Hold the right to publish while the block runs, from what is published in the store on.

    Raises `Busy` while another machine has it. The caller holds the lock of DATA/dataset.
    """
    with held(store, LEASE, purpose=purpose) as lease:
        pointer = claim(store, STORED, lease.token)
        clear(store, pointer)
        _take(data, store, pointer)
        yield Commit(data, store, lease, pointer)


def pull(data: Path, store: Store) -> int:
    """Bring DATA/dataset to what a store says is published; return how many files came.

    Where the committer removes a file meanwhile, the pointer names others by then, and these are fetched.
    """
    while True:
        pointer = read_pointer(store, STORED)
        try:
            return _take(data, store, pointer)
        except Damaged:
            if read_pointer(store, STORED).tag == pointer.tag:
                raise


def _take(data: Path, store: Store, pointer: Pointer) -> int:
    """Replace what is published here by what a pointer says, unless this is it, or made from it."""
    if "watermark" not in pointer.facts:
        return 0
    check_layout(pointer.facts["watermark"], f"{store.url}/{STORED}")
    copied = _copied(data)
    if copied == {"store": store.url, "commit": pointer.facts["commit"]}:
        return 0
    own = read_watermark(data)
    if own is not None and copied.get("store") != store.url and own != pointer.facts["watermark"]:
        raise SettingsError(
            f"{data / 'dataset'} is published from elsewhere, and {store.url} holds another dataset",
            hint="Name another --store or --data; or move dataset/ away, and the store's takes its place.",
        )
    missing = {key: said for key, said in pointer.files.items() if not (data / key).exists()}
    for key, said in missing.items():
        fetch(store, key, said, data / key)
    write_json(watermark_path(data), pointer.facts["watermark"])
    load_watermark(data)
    _note(data, store, pointer)
    sweep(data, forget=True)
    return len(missing)


def _note(data: Path, store: Store, pointer: Pointer) -> None:
    write_json(_note_path(data), {"store": store.url, "commit": pointer.facts["commit"]})


def _copied(data: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(_note_path(data).read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return found


def _note_path(data: Path) -> Path:
    return data / "dataset" / "store.json"
