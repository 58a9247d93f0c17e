"""Finds the receiver: the one named by URL, else the one that holds DATA, by the kernel's lock and its own word."""

import json
import time
from pathlib import Path
from typing import Any

from foundation.directories import check_directory
from foundation.errors import Busy, SettingsError
from foundation.web import places
from receiver.store.lock import announcement_path, holder_of, is_held

PATIENCE_S = 15.0
"""How long to wait for a receiver that is starting, or for another reader that is recovering a log."""


def find_receivers(data: Path) -> list[dict[str, Any]]:
    """Return where the receivers answer that were named by URL; where none was, the one that holds DATA, if one does.

    Stores that are named in the place of a receiver are left out: nobody answers there.
    """
    if named := places.receivers():
        return [_described(place) for place in named if not place.is_store]
    found = find_receiver(data)
    return [] if found is None else [found]


def find_receiver(data: Path) -> dict[str, Any] | None:
    """Return what the receiver that holds DATA says of itself, or None when none does.

    Whether one runs is told by the kernel's lock on DATA, not by the file: that one outlives a crash. Raises `Busy`
    when somebody holds DATA without answering, as a receiver that is still replaying its log, and `SettingsError` when
    it is another user's. A receiver that is named by URL is taken at its word: it is asked when it is needed.
    """
    if (place := places.receiver()) is not None:
        return _described(place)
    if not check_directory(data):
        return None
    deadline = time.monotonic() + PATIENCE_S
    while is_held(data):
        holder = holder_of(data)
        where = _announcement(data)
        if where is not None and where.get("pid") == holder.get("pid", where.get("pid")):
            return where
        if time.monotonic() > deadline:
            who = f"{holder['purpose']} (pid {holder['pid']})" if holder else "a process"
            raise Busy(f"{data} is held by {who}, which does not answer yet", hint="Try again in a moment.")
        time.sleep(0.05)
    return None


def _described(place: places.Place) -> dict[str, Any]:
    return {"http": place.url, "token": place.key, "is_remote": True}


def describe(where: dict[str, Any]) -> str:
    """Return how a message names a receiver: by its address, and its process where that is on this machine.

    >>> describe({"http": "http://127.0.0.1:4318", "pid": 7})
    'http://127.0.0.1:4318 (pid 7)'
    """
    return str(where["http"]) + (f" (pid {where['pid']})" if "pid" in where else "")


def _announcement(data: Path) -> dict[str, Any] | None:
    path = announcement_path(data)
    try:
        where = json.loads(path.read_bytes())
    except PermissionError:
        raise SettingsError(
            f"the receiver on {data} is another user's: {path} cannot be read",
            hint="Run the command as that user, or ask its HTTP port with an API key of scope query.",
        ) from None
    except (OSError, ValueError):
        return None
    return where if isinstance(where, dict) else None
