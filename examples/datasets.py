"""Reads the tasks' data sets from a directory that the user names."""

import json
from pathlib import Path
from typing import Any

HINT = "--datasets DIR names the directory that holds spider/, musique/ and calcx/: docs/tasks.md says how to make it"


def missing(path: Path) -> FileNotFoundError:
    """Return the error that says what is missing and how to come by it."""
    return FileNotFoundError(f"{path} is missing. {HINT}")


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a file of JSON lines; of the line ends of Unicode only the newline ends one."""
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    except FileNotFoundError:
        raise missing(path) from None
