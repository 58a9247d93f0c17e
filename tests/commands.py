"""Runs our commands in this process: the same `main`, without paying for an interpreter and its imports each time.

What is about processes (signals, locks between them, what a start imports) starts real ones instead.
"""

import contextlib
import io
import os
import subprocess
import sys
import traceback
import warnings
from pathlib import Path
from unittest.mock import patch

import structlog

from spanloop import cli


def spanloop(
    *arguments: object, cwd: Path | None = None, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end and return what a shell would see of it."""
    command = ["spanloop", *map(str, arguments)]
    out, err = (
        io.TextIOWrapper(io.BytesIO(), "utf-8", errors=errors, newline="", write_through=True)
        for errors in ("strict", "backslashreplace")  # as Python opens the two
    )
    with contextlib.ExitStack() as stack:
        stack.enter_context(patch.object(sys, "argv", command))
        stack.enter_context(patch.dict(os.environ, {"COLUMNS": "200", **(environment or {})}))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("default")
        warnings.filterwarnings("ignore", "Cyclopts application invoked without tokens")  # it has them, in sys.argv
        if cwd is not None:
            stack.enter_context(contextlib.chdir(cwd))
        stack.enter_context(contextlib.redirect_stdout(out))
        stack.enter_context(contextlib.redirect_stderr(err))
        was_narrating = structlog.is_configured()
        narration = structlog.get_config()
        status = _status_of_main()
        if was_narrating:
            structlog.configure(**narration)
        else:
            structlog.reset_defaults()  # else what the next test narrates goes where this command's did
    texts = [stream.buffer.getvalue().decode() for stream in (out, err) if isinstance(stream.buffer, io.BytesIO)]
    return subprocess.CompletedProcess(command, status, *texts)


def _status_of_main() -> int:
    try:
        cli.main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except Exception:  # noqa: BLE001 - what Python does at the top of a program
        traceback.print_exc()
        return 1
    return 0
