"""Takes days out of a store that are older than it is to keep, all receivers' at once."""

from collections.abc import Iterator
from datetime import date, timedelta

from foundation.errors import SpanloopError
from foundation.store.store import Store
from spanloop.store.holdings import is_pointer


def expired(store: Store, *, today: date, retain_days: int) -> dict[str, list[str]]:
    """Return the keys below each day that ended longer ago than some days; pointers come first.

    Files that no pointer names any more, of a removal that was killed, are among them.
    """
    last = today - timedelta(days=retain_days)
    found: dict[str, list[str]] = {}
    for key, day in _keys(store):
        if day < last:
            found.setdefault(day.isoformat(), []).append(key)
    return {day: sorted(keys, key=lambda key: (not is_pointer(key), key)) for day, keys in sorted(found.items())}


def _keys(store: Store) -> Iterator[tuple[str, date]]:
    for key, _ in store.names("days"):
        name = key.split("/")[1]
        try:
            yield key, date.fromisoformat(name)
        except ValueError as error:
            raise SpanloopError(
                f"{store.url}/{key} is below no day", hint="Remove it; nothing of ours wrote it."
            ) from error
