"""Chooses how DATA is read: through the receiver that holds it, from its files when none runs, or by what was named."""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from foundation.errors import Busy
from foundation.web import places
from foundation.web.places import Place
from receiver.reading.find import PATIENCE_S, find_receiver
from receiver.tables import Reader


def open_reader(data: Path) -> Reader:
    """Open DATA for reading, or the receivers and stores that were named, as one.

    An empty or missing directory reads as empty tables.
    """
    named = places.receivers()
    if len(named) > 1 or any(place.is_store for place in named):
        return open_together(data, named)
    deadline = time.monotonic() + PATIENCE_S
    while True:
        where = find_receiver(data)
        if where is not None:
            from receiver.reading.remote import ReceiverReader  # deferred: each way brings its own libraries

            return ReceiverReader(where)
        from receiver.reading.files import FileReader, recover

        try:
            recover(data)
            return FileReader(data)
        except Busy:  # a receiver or another reader was quicker
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


@contextlib.contextmanager
def reading(data: Path) -> Iterator[Reader]:
    """Open DATA for reading while the block runs."""
    reader = open_reader(data)
    try:
        yield reader
    finally:
        reader.close()


def open_place(place: Place) -> Reader:
    """Read through a receiver that is named by URL."""
    from receiver.reading.remote import ReceiverReader

    return ReceiverReader({"http": place.url, "token": place.key, "is_remote": True})


def open_together(data: Path, named: Sequence[Place], live: Sequence[Reader] = ()) -> Reader:
    """Read receivers and stores as one."""
    from foundation.store.opening import open_store
    from receiver.reading.stored import StoredReader

    stores = [open_store(place.url) for place in named if place.is_store]
    return StoredReader(data, stores, live=[*live, *(open_place(place) for place in named if not place.is_store)])


def sources(data: Path, named: Sequence[Place]) -> dict[str, Callable[[], Reader]]:
    """Return what opens each receiver: by its URL, or by that of its days in a store."""
    from foundation.store.opening import open_store
    from receiver.reading.archive import read_days
    from receiver.reading.stored import StoredReader

    found: dict[str, Callable[[], Reader]] = {}
    for place in named:
        if not place.is_store:
            found[place.url] = partial(open_place, place)
            continue
        store = open_store(place.url)
        for name in sorted({str(day.facts["receiver"]) for day in read_days(store)}):
            found[f"{place.url}/days/{name}"] = partial(StoredReader, data, [store], receiver=name)
    return found
