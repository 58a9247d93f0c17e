"""Where the tracker's records leave by, and the stages they pass before."""

import os
import threading
from typing import Any

from otel_exporter.sending.sender import Sender

_lock = threading.Lock()
_shared: "Sender | None" = None


def sender() -> Sender:
    """Return the one sender of this process, made when it is first asked for."""
    global _shared
    if _shared is None:
        with _lock:
            if _shared is None:
                _shared = Sender(os.environ)
    return _shared


def passed(*parts: "dict[str, Any]") -> "list[dict[str, Any]]":
    """Return attributes of a span and its events as the stages let them through. What they change is text."""
    stage = sender().stage
    if stage is None:
        return list(parts)
    plain = [{name: one for name, one in part.items() if one is not None} for part in parts]
    return stage.span(*plain)[0]
