"""The machine-readable summary a batch command prints with --json: what ran, on what, how it ended, what came out."""

import json
import os
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from foundation.errors import ExitStatus
from foundation.files import write_json

REPORT_VERSION = 1


def _cpu_seconds() -> float:
    """Return what this process has computed, and those it started that have ended."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


class RunReport:
    """Collects the phases, counts and artefacts of one run.

    Keys of the printed object: `report_version`, `run_id`, `command`, `arguments`, `status` (done, failed, settings,
    refused, busy), `started_time`, `ended_time` (UTC, ISO 8601), `duration_s`, `phases` (each `name`, `duration_s`,
    `cpu_s` of this process and of those it waited for, and whatever the phase adds), and the keys the command itself
    sets through `update`.
    """

    def __init__(self, command: str, arguments: dict[str, Any]) -> None:
        self.run_id = uuid.uuid4().hex[:12]
        self._began = time.monotonic()
        self._phases: list[dict[str, Any]] = []
        self._fields: dict[str, Any] = {}
        self._head = {
            "report_version": REPORT_VERSION,
            "run_id": self.run_id,
            "command": command,
            "arguments": arguments,
        }
        self._started = datetime.now(UTC)

    def update(self, **fields: Any) -> None:  # noqa: ANN401 - any JSON value
        """Set top-level keys of the report."""
        self._fields.update(fields)

    @contextmanager
    def phase(self, name: str) -> Iterator[dict[str, Any]]:
        """Time a phase; whatever is put into the yielded dictionary is reported with it."""
        entry: dict[str, Any] = {"name": name}
        self._phases.append(entry)
        began, spent = time.monotonic(), _cpu_seconds()
        try:
            yield entry
        finally:
            entry["duration_s"] = round(time.monotonic() - began, 3)
            entry["cpu_s"] = round(_cpu_seconds() - spent, 3)

    def as_dict(self, status: ExitStatus = ExitStatus.DONE) -> dict[str, Any]:
        """Return the report as one JSON-ready object."""
        return {
            **self._head,
            "status": status.name.lower(),
            "started_time": self._started.isoformat(),
            "ended_time": datetime.now(UTC).isoformat(),
            "duration_s": round(time.monotonic() - self._began, 3),
            **self._fields,
            "phases": self._phases,
        }

    def write(self, path: Path, status: ExitStatus = ExitStatus.DONE) -> None:
        """Keep the report as a file."""
        write_json(path, self.as_dict(status))

    def print(self, status: ExitStatus = ExitStatus.DONE) -> None:
        """Print the report on stdout."""
        json.dump(self.as_dict(status), sys.stdout, indent=2, default=str)
        sys.stdout.write("\n")
