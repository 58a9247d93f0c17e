"""What a button does: the command that does so anywhere, with who asked on record before it is done."""

import io
import json
import os
from datetime import UTC, datetime
from pathlib import Path

from foundation.errors import SpanloopError
from foundation.files import make_directory
from foundation.web.keys import Scope
from spanloop.page import facts
from spanloop.page.entrance import Visitor
from spanloop.page.visit import Visit
from spanloop.processes import StageFailed, run_stage


async def act(visit: Visit, action: str, what: str, *command: str) -> None:
    """Run a command of ours for a visitor with the scope `admin`; `what` is what the record says it was about."""
    visit.visitor.require(Scope.ADMIN)
    await visit.read(_record, visit.data, visit.visitor, action, what, "asked")
    try:
        await visit.read(run_stage, *command, narration=io.StringIO())
    except StageFailed as error:
        await visit.read(_record, visit.data, visit.visitor, action, what, f"refused: {error.said[-400:]}")
        raise SpanloopError(f"{action} was refused: {error.said[-800:]}", hint="Nothing was changed.") from error
    await visit.read(_record, visit.data, visit.visitor, action, what, "done")


def _record(data: Path, visitor: Visitor, action: str, checkpoint: str, state: str) -> None:
    """Write who did what, on disk before it is done."""
    path = facts.acts_path(data)
    make_directory(path.parent)
    line = {
        "time": datetime.now(UTC).isoformat(),
        "who": visitor.name,
        "key": visitor.key_id,
        "action": action,
        "checkpoint": checkpoint,
        "state": state,
    }
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "ab") as file:
        file.write(json.dumps(line).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
