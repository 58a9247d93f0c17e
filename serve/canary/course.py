"""How a canary went: a line whenever a look at it saw more than the one before, for whoever wants to see it move.

    DATA/serve/canaries/VERSION.jsonl    {"time", "started_time", "share", "num_units", "metrics": {NAME: [low, high]}}

Nothing is decided by it: what cannot be written is left out.
"""

import contextlib
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from foundation.files import make_directory
from serve.schema import Canary, course_path


def note(data: Path, canary: Canary, *, num_units: int, measured: dict[str, dict[str, Any]]) -> None:
    """Write down the intervals of the differences that were just measured, canary less live."""
    line = {
        "time": datetime.now(UTC).isoformat(),
        "started_time": canary.started_time,
        "share": canary.share,
        "num_units": num_units,
        "metrics": {name: [one["difference_low"], one["difference_high"]] for name, one in measured.items()},
    }
    with contextlib.suppress(OSError):
        path = course_path(data, canary.version)
        make_directory(path.parent)
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "ab") as file:
            file.write(json.dumps(line).encode() + b"\n")
