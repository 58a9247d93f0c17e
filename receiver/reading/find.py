"""Finds the receiver that holds DATA, by the kernel's lock and by what that receiver says of itself."""

import json
import time
from pathlib import Path
from typing import Any

from foundation.directories import check_directory
from foundation.errors import Busy, SettingsError
from receiver.store.lock import announcement_path, holder_of, is_held

PATIENCE_S = 15.0
"""How long to wait for a receiver that is starting, or for another reader that is recovering a log."""


def find_receiver(data: Path) -> dict[str, Any] | None:
    """Return what the receiver that holds DATA says of itself, or None when none does.

    Whether one runs is told by the kernel's lock on DATA, not by the file: that one outlives a crash. Raises `Busy`
    when somebody holds DATA without answering, as a receiver that is still replaying its log, and `SettingsError` when
    it is another user's.
    """
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
