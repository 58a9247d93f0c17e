"""What a process remembers between runs: small JSON files that say their version and their own digest.

A file that a disk, a text editor or a newer release changed is refused by name instead of believed or tripped over.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from foundation.errors import SpanloopError
from foundation.files import finite, readable_json

VERSION = "schema_version"
DIGEST = "sha256"


class StateUnreadable(SpanloopError):
    """A file of ours is damaged, or of a release newer than this one."""


def encode_state(content: dict[str, Any], *, version: int) -> bytes:
    """Return the bytes of a state file: readable JSON, with its version first and its digest last."""
    whole = {VERSION: version, **finite(content)}
    return readable_json(with_digest(whole))


def with_digest(content: dict[str, Any]) -> dict[str, Any]:
    """Return the content of a state file of another layout with its digest last."""
    return {**content, DIGEST: _digest(content)}


def is_whole(content: dict[str, Any]) -> bool:
    """Take the digest out of what was read; tell whether it is that of the rest. An earlier release wrote none."""
    digest = content.pop(DIGEST, None)
    return digest is None or digest == _digest(content)


def read_state(path: Path, *, version: int, hint: str) -> dict[str, Any] | None:
    """Return what a state file holds, without version and digest; None where there is no file.

    Raises `StateUnreadable`, with the way out in `hint`, for a file that is damaged or newer. A file without a digest
    passes: it was written by an earlier release, or by somebody who edited it and took the line out.
    """
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StateUnreadable(f"{str(path)[:300]} cannot be read: {error.strerror}") from error
    try:
        content = json.loads(raw)
    except ValueError as error:
        raise StateUnreadable(f"{path} is damaged: {error}", hint=hint) from error
    if not isinstance(content, dict):
        raise StateUnreadable(f"{path} is damaged: it holds no object", hint=hint)
    found = content.get(VERSION, version)
    if not isinstance(found, int) or found > version:
        raise StateUnreadable(
            f"{path} has layout {found}; this release reads {version} and older", hint="Use the release that wrote it."
        )
    if not is_whole(content):
        raise StateUnreadable(
            f"{path} is damaged: its content is not what its {DIGEST} says",
            hint=f"{hint} Where it was edited on purpose, take its {DIGEST} line out.",
        )
    content.pop(VERSION, None)
    return content


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
