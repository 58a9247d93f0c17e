"""Training through a launcher: accelerate, torchrun, srun, SkyPilot, whatever starts a program where the GPUs are."""

import json
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from foundation.errors import ExitStatus, SpanloopError
from spanloop.processes import StageFailed, run_aside

PLACE = "{}"
"""Where a launcher takes the program as one word, this stands for it."""


def launch(line: str, arguments: Sequence[str], report: Path) -> dict[str, Any]:
    """Have a launcher run `-m spanloop` with these arguments; return the report the stage left at `report`.

    The report is a file, because launchers write to stdout themselves and end with a status of their own. Raises
    `StageFailed` with the stage's status.
    """
    report.unlink(missing_ok=True)
    command = launched(line, [*arguments, "--report-file", str(report.absolute())])
    # A launcher starts `python` by name; the one that has everything is ours.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    status, narration = run_aside(command, environment={"PATH": path})
    if not report.exists():
        if status == ExitStatus.DONE:
            raise SpanloopError(
                f"`{command[0]}` ended with status 0, and no report of the training is at {report}",
                hint="What --launch starts has to see DATA under the same path, and to wait for the end.",
            )
        raise StageFailed(command, status, narration, was_shown=True)
    found: dict[str, Any] = json.loads(report.read_text())
    said = ExitStatus[str(found["status"]).upper()]
    if said is not ExitStatus.DONE:
        raise StageFailed(
            command, said, [*narration, f"spanloop: {found.get('error', {}).get('message', '')}"], was_shown=True
        )
    return found


def launched(line: str, arguments: Sequence[str]) -> list[str]:
    """Return the command line that runs `-m spanloop` with these arguments.

    >>> launched("torchrun --nproc-per-node 2", ["train", "run"])
    ['torchrun', '--nproc-per-node', '2', '-m', 'spanloop', 'train', 'run']
    >>> launched("sky exec gpu 'torchrun --nproc-per-node 8 {}'", ["train", "run", "--data", "my data"])[-1]
    "torchrun --nproc-per-node 8 -m spanloop train run --data 'my data'"
    """
    program = ["-m", "spanloop", *arguments]
    words = shlex.split(line)
    if any(PLACE in word for word in words):
        return [word.replace(PLACE, shlex.join(program)) for word in words]
    return [*words, *program]
